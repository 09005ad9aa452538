internal import CLinux
internal import Glibc
internal import SystemPackage
internal import VFIOUserSystem
internal import VFIOUserTransport
internal import VFIOUserWire

/// Access to client memory by asking the client: DMA_READ and DMA_WRITE, for memory that came without a descriptor.
///
/// One reply is awaited at a time, by the call. Requests of the client that arrive meanwhile on the same socket are kept
/// for later, or some of them answered, and others end the wait: ``DeviceServer/answersWhileWaiting``.
extension DeviceServer {
    /// Reads `count` bytes of client memory into `target`.
    ///
    /// - Throws: `EBUSY` a quiesce is pending, or another such access waits for its answer; `ECANCELED` a request of the
    ///   client comes first (``DeviceServer/answersWhileWaiting``); what the client answered;
    ///   `EINVAL`, `EPROTO` a reply that does not fit the command; `ENOTCONN` the client is gone, and everything of it has
    ///   been removed.
    func readByMessage(_ address: UInt64, into target: UnsafeMutableRawPointer, count: Int) throws(Errno) {
        var done = 0
        while done < count {
            let chunk = try next(min(count - done, max(1, largestDMARead)))
            let place = unsafe target + done
            let access = DMAAccess(address: address &+ UInt64(done), count: UInt64(chunk))
            try unsafe command(.dmaRead, access, data: nil, expecting: chunk) { data throws(Errno) in
                unsafe data.withUnsafeBytes { (bytes) in
                    // The expected count was checked against the reply's length.
                    if let base = bytes.baseAddress { unsafe memcpy(place, base, chunk) }
                }
            }
            done += chunk
        }
    }

    /// Writes `count` bytes from `source` to client memory; as ``readByMessage(_:into:count:)``.
    func writeByMessage(_ address: UInt64, from source: UnsafeRawPointer, count: Int) throws(Errno) {
        var done = 0
        while done < count {
            let chunk = try next(count - done)
            let data = unsafe UnsafeRawBufferPointer(start: source + done, count: chunk)
            let access = DMAAccess(address: address &+ UInt64(done), count: UInt64(chunk))
            try unsafe command(.dmaWrite, access, data: data, expecting: 0) {
                _ throws(Errno) in
            }
            done += chunk
        }
    }

    /// Bytes of the next piece of a transfer.
    private func next(_ remaining: Int) throws(Errno) -> Int {
        guard case .none = pending, !isAnsweringWhileWaiting else { throw .resourceBusy }
        guard let limit = connection?.maxTransfer else { throw .socketNotConnected }
        return min(limit, remaining)
    }

    /// Sends one command and gives the data of its reply to `body`.
    private func command(
        _ command: Command, _ access: DMAAccess, data: UnsafeRawBufferPointer?, expecting count: Int,
        _ body: (RawSpan) throws(Errno) -> Void
    ) throws(Errno) {
        if answersWhileWaiting { try answerEarlierRequests() }
        guard let connection = connectionEnds() else { throw .socketNotConnected }
        guard !connection.isOver else { try lostWhileWaiting() }
        try boundWaiting(on: connection.replies)
        let id = takeCommandID()
        do throws(Errno) {
            // Replies that wait go first: the client may need them before it answers.
            if !outbound.isEmpty { try outbound.flush(to: connection.output) }
            try unsafe send(command, id: id, access, data: data, to: connection.commands)
        } catch {
            guard Self.meansDisconnected(error) else { throw error }
            try lostWhileWaiting()
        }
        let replies = connection.twin?.inbound ?? inbound
        let (header, offset, length) = try awaitReply(to: id, in: replies, from: connection.replies)
        defer { replies.remove(at: offset, length: length) }
        guard header.id == id else { throw .protocolError }
        guard header.flags.isReply else { throw .invalidArgument }
        guard !header.flags.contains(.error) else { throw header.error }
        guard length > MessageHeader.byteCount else { throw .invalidArgument }
        // A reply that announces less than it has to carry ends the connection, as a cut one does.
        guard length >= 32 + count else { try lostWhileWaiting() }
        var reply = Reader(replies.payload(at: offset, length: length))
        guard try DMAAccess(decoding: &reply) == access else { throw .invalidArgument }
        try body(try reply.take(count))
    }

    /// Bounds what a polling server can be made to wait by a client that does not answer its commands. Once for each
    /// connection, and not before it matters: most devices send none.
    private func boundWaiting(on socket: CInt) throws(Errno) {
        guard let connection, !connection.boundsWaiting, listener.isSocket,
            let stallLimit = outbound.stallLimit
        else { return }
        var limit = timeval(tv_sec: stallLimit / 1000, tv_usec: stallLimit % 1000 * 1000)
        let size = socklen_t(MemoryLayout<timeval>.size)
        // The option's value is a whole, initialised timeval of that size.
        guard unsafe setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, size) == 0 else {
            throw Errno(rawValue: errno)
        }
        connection.boundsWaiting = true
    }

    private struct Ends {
        let output: CInt
        /// Where commands go and replies come from.
        let commands: CInt
        let replies: CInt
        let twin: TwinSocket?
        let isOver: Bool
    }

    private func connectionEnds() -> Ends? {
        guard let connection else { return nil }
        let twin = connection.twin
        return Ends(
            output: output, commands: twin?.socket.number ?? output, replies: twin?.socket.number ?? input,
            twin: twin, isOver: connection.isOver)
    }

    /// Sends header and struct from the stack and the data from where it is, in one call.
    private func send(
        _ command: Command, id: UInt16, _ access: DMAAccess, data: UnsafeRawBufferPointer?, to socket: CInt
    ) throws(Errno) {
        let dataCount = unsafe data?.count ?? 0
        var head: [32 of UInt8] = .init(repeating: 0)
        var span = head.mutableSpan
        // Bytes are bytes.
        var writer = Writer(unsafe span.mutableBytes)
        try MessageHeader(id: id, command: command, payloadByteCount: DMAAccess.byteCount + dataCount)
            .encode(into: &writer)
        try access.encode(into: &writer)
        let total = 32 + dataCount
        var sent = 0
        var patience: Patience?
        while sent < total {
            // Both vectors cover live memory: the array on the stack and the caller's data.
            let count = unsafe withUnsafeMutableBytes(of: &head) { head in
                let skip = min(sent, 32)
                let vectors: [2 of iovec] = unsafe [
                    iovec(iov_base: head.baseAddress.map { unsafe $0 + skip }, iov_len: 32 - skip),
                    iovec(
                        iov_base: data?.baseAddress.map {
                            unsafe UnsafeMutableRawPointer(mutating: $0) + (sent - skip)
                        },
                        iov_len: dataCount - (sent - skip)),
                ]
                return unsafe vectors.span.withUnsafeBufferPointer { vectors in
                    guard listener.isSocket else {
                        let written = unsafe writev(socket, vectors.baseAddress, 2)
                        return written < 0 ? -Int(errno) : written
                    }
                    return unsafe clx_send(socket, vectors.baseAddress, 2, nil, 0, CInt(MSG_DONTWAIT))
                }
            }
            if count >= 0 {
                sent += count
                continue
            }
            guard count == -Int(EAGAIN) else { throw Errno(rawValue: CInt(clamping: -count)) }
            let begun = patience ?? Patience(outbound.stallLimit)
            patience = begun
            guard begun.waitToWrite(socket) else { throw .timedOut }
        }
    }

    /// A number that no answer is awaited for, nor to be ignored.
    private func takeCommandID() -> UInt16 {
        while abandonedCommands.contains(nextCommandID) { nextCommandID &+= 1 }
        defer { nextCommandID &+= 1 }
        return nextCommandID
    }

    /// Waits until a reply has come whole.
    ///
    /// - Returns: its header, and where it is in `messages`, behind the request being worked on and others that came meanwhile.
    private func awaitReply(
        to id: UInt16, in messages: InboundMessages, from socket: CInt
    ) throws(Errno) -> (MessageHeader, offset: Int, length: Int) {
        var offset = messages.pinnedLength
        let patience = Patience(outbound.stallLimit)
        // Begins with a request that has to wait for the end of this access.
        var grace: Patience?
        // The first receive waits by itself, which saves a call.
        var waits = true
        while true {
            switch messages.head(at: offset) {
            case .message(let header, let length):
                if isAnswerToAbandoned(header) {
                    messages.remove(at: offset, length: length)
                    continue
                }
                if !header.flags.isCommand || messages !== inbound { return (header, offset, length) }
                if offset == 0, try answerWhileWaiting(header, length: length) {
                    // However many there are, the answer must come in time.
                    guard !patience.isOver else { try lostWhileWaiting() }
                    continue
                }
                warnOfCrossing()
                offset += length
                if grace == nil { grace = graceOfCrossing() }
                if let grace {
                    guard !grace.isOver else { try abandon(id) }
                    waits = false
                }
            case .malformed(let header):
                _ = isAnswerToAbandoned(header)
                messages.remove(at: offset, length: MessageHeader.byteCount)
                throw header.flags.isReply ? .invalidArgument : .protocolError
            case .incomplete:
                // Only replies belong on a second socket; the rest of anything else is not waited for.
                if messages !== inbound, let header = messages.header(of: offset), !header.flags.isReply {
                    messages.remove(at: offset, length: MessageHeader.byteCount)
                    throw .invalidArgument
                }
                switch messages.receive(from: socket, blocking: waits, awaited: offset) {
                case .received: waits = false
                case .wouldBlock where !waits:
                    if let grace {
                        guard grace.waitToRead(socket) else { try abandon(id) }
                        continue
                    }
                    guard patience.waitToRead(socket) else { try lostWhileWaiting() }
                case .ended, .wouldBlock, .failed(.connectionReset): try lostWhileWaiting()
                case .failed(let error): throw error
                }
            }
        }
    }

    /// Carries out a request that has crossed a command, the first of all received, if it can be now.
    ///
    /// - Returns: whether it was, and has gone. If not, it and all behind it are for later.
    private func answerWhileWaiting(_ header: MessageHeader, length: Int) throws(Errno) -> Bool {
        guard answersWhileWaiting, !isProcessing, let command = Command(rawValue: header.command) else {
            return false
        }
        let rule = CommandRule(command)
        guard rule.worksWaiting, !needsQuiesce(rule, length: length) else { return false }
        let serial = connectionSerial
        isAnsweringWhileWaiting = true
        defer { isAnsweringWhileWaiting = false }
        // What it fails with is not the fault of the access to memory, whose answer is still to come.
        do throws(Errno) { _ = try carryOut(header, length: length) } catch { requestError = error }
        try flush(to: serial)
        // The device, or the reply, may have found the client gone.
        guard serial == connectionSerial, !isQuiescing else { throw .socketNotConnected }
        return true
    }

    /// Carries out what was received before a command is sent, which the client may need to answer that.
    ///
    /// - Throws: `ECANCELED`: some of it cannot be now.
    private func answerEarlierRequests() throws(Errno) {
        guard !isProcessing, connection?.twin == nil else { return }
        while case .message(let header, let length) = inbound.head(at: 0) {
            if isAnswerToAbandoned(header) {
                inbound.consume(length)
                continue
            }
            // An answer to nothing is what the command will find.
            guard header.flags.isCommand else { return }
            if try !answerWhileWaiting(header, length: length) {
                throw .canceled
            }
        }
    }

    /// How long an answer is awaited when a request has to wait for it; `nil`: as long as ever.
    private func graceOfCrossing() -> Patience? {
        guard answersWhileWaiting, !isProcessing, listener.isSocket,
            abandonedCommands.count < Self.mostAbandoned
        else { return nil }
        return Patience(Self.crossingGrace)
    }

    /// Clients that answer and ask side by side have answered by then; the others will not before they are answered.
    /// Milliseconds.
    private static let crossingGrace = 20
    /// Commands that were given up and are not answered yet, each for a request of the client's.
    private static let mostAbandoned = 64

    private func abandon(_ id: UInt16) throws(Errno) -> Never {
        abandonedCommands.append(id)
        throw .canceled
    }

    /// Whether a message is the late answer to a command that was given up, which is ignored, and not expected again.
    func isAnswerToAbandoned(_ header: MessageHeader) -> Bool {
        guard !abandonedCommands.isEmpty, header.flags.isReply,
            let place = abandonedCommands.firstIndex(of: header.id)
        else { return false }
        abandonedCommands.remove(at: place)
        return true
    }

    /// The client went while its reply was awaited: removes everything of it, or begins to.
    private func lostWhileWaiting() throws(Errno) -> Never {
        try? disconnect()
        throw .socketNotConnected
    }

    private func warnOfCrossing() {
        guard connection?.warnedOfCrossing == false else { return }
        connection?.warnedOfCrossing = true
        log(
            .warning, "a request of the client crossed a command to it; a second socket would keep them apart"
        )
    }
}
