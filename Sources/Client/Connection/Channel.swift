internal import CLinux
internal import Glibc
internal import SystemPackage
internal import VFIOUserSystem
internal import VFIOUserTransport
internal import VFIOUserWire

/// One socket to the server, either the main one or the twin: whole messages out, whole messages in.
///
/// A send never waits for a server that itself waits for us to read: while the socket takes no more, what the
/// server sends is received. Commands of the server are answered from the registered memory as they come to
/// the front.
final class Channel {
    let socket: OwnedFD
    let inbound: InboundMessages
    let responder: DMAResponder
    /// The twin socket, if it is served while this one waits.
    var companion: Channel?
    /// How long the server may take for its next step; nil: for ever.
    var timeout: Duration?
    /// Messages queued and not sent yet; they go before anything else.
    var queued: [UInt8] = []
    /// Requests sent without waiting, whose replies are to come.
    private(set) var outstanding: [(id: UInt16, command: UInt16)] = []
    /// Requests whose waiter gave up: their replies are dropped.
    private(set) var abandoned: [UInt16] = []
    /// Replies that came before anybody asked for them.
    private(set) var collected: [Client.Message] = []
    /// The ids of all three.
    private var takenIDs = Set<UInt16>()
    /// The connection is gone, or its framing is.
    private(set) var isLost = false
    private var hasEnded = false
    private var lastID: UInt16 = 0

    init(_ socket: consuming OwnedFD, _ responder: DMAResponder) throws(Errno) {
        inbound = try InboundMessages()
        self.socket = socket
        self.responder = responder
    }

    /// An id under which no reply is expected or waits.
    ///
    /// - Throws: `EAGAIN` too many requests are not answered, or their replies not asked for.
    func newID() throws(Errno) -> UInt16 {
        repeat { lastID &+= 1 } while try isTaken(lastID)
        return lastID
    }

    private func isTaken(_ id: UInt16) throws(Errno) -> Bool {
        let count = outstanding.count + abandoned.count + collected.count
        if count == 0 { return false }
        guard count < Self.maxIDs else { throw .resourceTemporarilyUnavailable }
        return takenIDs.contains(id)
    }

    /// Most ids in use at a time: some are always left.
    private static let maxIDs = 32768

    /// A reply is to come that somebody will ask for.
    func expectReply(to id: UInt16, _ command: UInt16) {
        outstanding.append((id, command))
        takenIDs.insert(id)
    }

    /// Remembers that a reply may come which nobody waits for.
    func abandon(_ id: UInt16) {
        // Of a server that never answers, the oldest are given up.
        if abandoned.count >= Self.maxIDs / 2 { takenIDs.remove(abandoned.removeFirst()) }
        abandoned.append(id)
        takenIDs.insert(id)
    }

    /// Gives the connection up: nothing that follows can be understood.
    func lose() {
        guard !isLost else { return }
        isLost = true
        _ = shutdown(socket.number, CInt(SHUT_RDWR))
        inbound.reset()
    }

    // MARK: Sending

    /// Sends bytes in one call if the socket takes them: the head, then the data, descriptors with the first
    /// byte.
    ///
    /// - Throws: `ENOTCONN` the server is gone, `ETIMEDOUT` it does not read; others of `sendmsg` before the
    ///   first byte.
    func transmit(
        _ head: RawSpan, _ data: BorrowedBytes = .none, descriptors: [CInt] = []
    ) throws(Errno) {
        guard !isLost else { throw .socketNotConnected }
        let total = head.byteCount + data.count
        var sent = 0
        while sent < total {
            let count = sendOnce(head, data, skipping: sent, descriptors: sent == 0 ? descriptors : [])
            if count >= 0 {
                sent += count
            } else if count == -Int(EAGAIN) {
                do throws(Errno) { try waitForRoom() } catch {
                    if sent > 0 { lose() }
                    throw error
                }
            } else {
                let error = Errno(rawValue: CInt(clamping: -count))
                let isGone = error == .brokenPipe || error == .connectionReset
                if isGone { hasEnded = true }
                if sent > 0 { lose() }
                throw isGone ? .socketNotConnected : error
            }
        }
    }

    private func sendOnce(
        _ head: RawSpan, _ data: BorrowedBytes, skipping sent: Int, descriptors: [CInt]
    ) -> Int {
        let headSkip = min(sent, head.byteCount)
        let dataSkip = sent - headSkip
        return unsafe head.withUnsafeBytes { head in
            // Both vectors cover live memory of the caller; the kernel only reads it.
            let vectors: [2 of iovec] = unsafe [
                iovec(
                    iov_base: UnsafeMutableRawPointer(
                        mutating: head.baseAddress.map { unsafe $0 + headSkip }),
                    iov_len: head.count - headSkip),
                iovec(
                    iov_base: UnsafeMutableRawPointer(
                        mutating: data.buffer.baseAddress.map { unsafe $0 + dataSkip }),
                    iov_len: data.count - dataSkip),
            ]
            return unsafe vectors.span.withUnsafeBufferPointer { vectors in
                unsafe descriptors.withUnsafeBufferPointer { numbers in
                    unsafe clx_send(
                        socket.number, vectors.baseAddress, 2, numbers.baseAddress, numbers.count,
                        CInt(MSG_DONTWAIT))
                }
            }
        }
    }

    /// Waits until the socket may take more, receiving and serving the twin meanwhile.
    private func waitForRoom() throws(Errno) {
        let deadline = Deadline(after: timeout)
        var events: Waiting.Events = .writable
        if !hasEnded, makeRoomForReceiving() { events.insert(.readable) }
        let (mine, theirs) = try Waiting.forEvents(
            of: socket.number, events, of: companion?.socket.number ?? -1, .readable, until: deadline)
        if !theirs.isEmpty { serveCompanion() }
        if mine.contains(.readable), events.contains(.readable) {
            // What goes wrong is remembered, and the next send fails.
            _ = try? receive(blocking: false)
        } else if mine.isEmpty, theirs.isEmpty {
            throw .timedOut
        }
    }

    /// Whether more may be received while a send is under way; complete replies are put aside for that.
    private func makeRoomForReceiving() -> Bool {
        while case .message(let header, let length) = inbound.head(), header.flags.isReply {
            guard collect(header, length) else { return false }
        }
        guard case .incomplete = inbound.head() else { return false }
        return true
    }

    // MARK: Receiving

    /// Receives once, waiting for it; serves the twin meanwhile.
    ///
    /// - Throws: `ETIMEDOUT`; `ENOTCONN` the server is gone; others of `recvmsg`.
    func fill(until deadline: Deadline) throws(Errno) {
        guard !isLost, !hasEnded else { throw .socketNotConnected }
        if let companion {
            let (mine, theirs) = try Waiting.forEvents(
                of: socket.number, .readable, of: companion.socket.number, .readable, until: deadline)
            if !theirs.isEmpty { serveCompanion() }
            guard !mine.isEmpty else {
                if theirs.isEmpty { throw .timedOut }
                return
            }
        } else if deadline.hasPassed {
            throw .timedOut
        }
        // Without a companion the socket's own time-out bounds the call.
        if try !receive(blocking: companion == nil), companion == nil { throw .timedOut }
    }

    /// Receives once.
    ///
    /// - Returns: whether there was something.
    @discardableResult
    private func receive(blocking: Bool) throws(Errno) -> Bool {
        switch inbound.receive(from: socket.number, blocking: blocking) {
        case .received: return true
        case .wouldBlock: return false
        case .ended:
            hasEnded = true
            throw .socketNotConnected
        case .failed(let error):
            lose()
            throw error
        }
    }

    /// Waits for either socket, receives what came on this one and serves the twin; returns without when the
    /// time is over.
    ///
    /// - Throws: `ENOTCONN` the server is gone; errors of the socket.
    func waitAndReceive(until deadline: Deadline) throws(Errno) {
        guard !isLost, !hasEnded else { throw .socketNotConnected }
        let (mine, theirs) = try Waiting.forEvents(
            of: socket.number, .readable, of: companion?.socket.number ?? -1, .readable, until: deadline)
        if !theirs.isEmpty { serveCompanion() }
        if !mine.isEmpty { try receive(blocking: false) }
    }

    /// Serves what the twin socket brought; gives it up when it fails.
    private func serveCompanion() {
        guard let companion else { return }
        do throws(Errno) { _ = try companion.serveAvailable() } catch { self.companion = nil }
    }

    /// Puts the first message, a reply, aside for whoever asks for it.
    ///
    /// - Returns: false, and nothing is done, if nobody will.
    func collect(_ header: MessageHeader, _ length: Int) -> Bool {
        if let place = abandoned.firstIndex(of: header.id) {
            abandoned.remove(at: place)
            takenIDs.remove(header.id)
            inbound.consume(length)
            return true
        }
        guard let place = outstanding.firstIndex(where: { $0.id == header.id }) else { return false }
        outstanding.remove(at: place)
        collected.append(takeMessage(header, length))
        return true
    }

    /// Takes a reply that was put aside: the first, or the first with this id.
    func takeCollected(_ id: UInt16? = nil) -> Client.Message? {
        guard !collected.isEmpty, let place = id == nil ? 0 : collected.firstIndex(where: { $0.id == id })
        else {
            return nil
        }
        takenIDs.remove(collected[place].id)
        return collected.remove(at: place)
    }

    /// No reply is to come under this id any more.
    func forget(_ id: UInt16) {
        takenIDs.remove(id)
        outstanding.removeAll { $0.id == id }
        abandoned.removeAll { $0 == id }
    }

    /// Copies the first message out of the stream.
    func takeMessage(_ header: MessageHeader, _ length: Int) -> Client.Message {
        var received = inbound.takeDescriptors()
        var files: [OwnedFile] = []
        for index in 0..<received.count {
            if let file = received.takeFile(at: index) { files.append(file) }
        }
        let messages = inbound
        // The bytes are copied before anything else touches the stream.
        let payload = unsafe messages.payload(length: length).withUnsafeBytes { unsafe Array($0) }
        inbound.consume(length)
        return Client.Message(header, payload: payload, files: files)
    }
}
