internal import CLinux
internal import Glibc
public import SystemPackage
internal import VFIOUserAddressSpace
internal import VFIOUserSystem
internal import VFIOUserTransport
internal import VFIOUserWire

extension DeviceServer {
    /// Milliseconds a polling server waits for the VERSION of a client that has just connected; after that the client
    /// is kept, and the next ``attach()`` goes on without waiting.
    static let versionGrace = 100

    /// Bytes of the longest VERSION payload that is looked at: taken apart, a text takes many times its length.
    static let longestVersion = 8192

    /// Takes one client and negotiates with it (vfio-user protocol, VERSION).
    ///
    /// - Throws: `EAGAIN` no client, or not all of its VERSION yet (polling); `EINVAL` a client is attached already, or
    ///   this one's VERSION is refused; `ENOTSUP` it does not offer IOAS mode, which is required; `EFAULT` it came with
    ///   descriptors; `ENOMSG`, `ECONNRESET` the client left before or within its VERSION; `EINTR` a signal handler ran
    ///   while it waited (blocking; call again to go on); `ENOTCONN` the server has no way to get a client; others of
    ///   `accept`, `recvmsg`, `sendmsg`. After a refusal the next client can be attached.
    public func attach() throws(Errno) {
        try attach(grace: Self.versionGrace)
    }

    /// The same with another time to wait for VERSION, milliseconds.
    func attach(grace: Int) throws(Errno) {
        guard connection == nil, !isProcessing else { throw .invalidArgument }
        do throws(Errno) {
            try negotiate(grace: grace)
        } catch {
            // A client that is kept goes on where it stopped.
            if candidate == nil {
                inbound.reset()
                outbound.reset()
            }
            throw error
        }
    }

    private func negotiate(grace: Int) throws(Errno) {
        if case .standardInputAndOutput = endpoint {
            inbound.reset()
            try negotiate(on: nil, grace: 0)
        } else if let candidate = candidate.take() {
            try negotiate(on: candidate, grace: 0)
        } else {
            let client = try listener.accept()
            inbound.reset()
            try negotiate(on: client, grace: grace)
        }
    }

    private func negotiate(on socket: consuming OwnedFD?, grace: Int) throws(Errno) {
        let input = socket?.number ?? STDIN_FILENO
        let output = socket?.number ?? STDOUT_FILENO
        let header: MessageHeader
        let length: Int
        do throws(Errno) {
            (header, length) = try receiveVersion(from: input, grace: grace)
        } catch {
            if error == .wouldBlock || error == .interrupted { candidate = consume socket }
            throw error
        }

        let settings: Settings
        do throws(Errno) {
            let messages = inbound
            settings = try agree(header, Reader(messages.payload(length: length)), to: output)
        } catch {
            outbound.commitError(header, error, to: output)
            try? outbound.flush(to: output)
            log(.error, "client refused at VERSION: \(error)")
            throw error
        }
        inbound.consume(length)

        var twin: TwinSocket?
        var clientEnd: OwnedFD?
        if settings.wantsTwin {
            clientEnd = try makeTwin(&twin)
        }
        let number = clientEnd?.number
        outbound.commit(header.reply(payloadByteCount: settings.replyCount), count: settings.replyCount)
        do throws(Errno) {
            try outbound.flush(to: output, descriptors: number.map { [$0] } ?? [])
        } catch {
            throw Self.meansDisconnected(error) ? .connectionReset : error
        }
        connection = Connection(
            socket: socket, twin: twin, maxTransfer: settings.maxTransfer,
            writesMultiple: settings.writesMultiple, ioas: settings.ioas)
        self.input = input
        self.output = output
        connectionSerial &+= 1
        if settings.ioas != nil { spaces.beginIOAS() } else { spaces.beginLegacy() }
    }
}

extension DeviceServer {
    /// What was agreed with a client.
    private struct Settings {
        var maxTransfer: Int
        var wantsTwin: Bool
        var writesMultiple: Bool
        var ioas: IOASFeatures?
        /// Bytes of the reply's payload.
        var replyCount: Int
    }

    /// Receives until the first message is complete.
    ///
    /// - Throws: `EAGAIN` the client takes longer than the grace (polling), `EINTR`, `ENOMSG`, `ECONNRESET`, `EFAULT` for
    ///   descriptors or broken control data, `EINVAL` for what is no command or has a size that cannot be.
    private func receiveVersion(from input: CInt, grace: Int) throws(Errno) -> (MessageHeader, Int) {
        // From when there is something to wait for.
        var deadline: Int?
        while true {
            // What is refused without an answer is judged at once, in this order: nothing more is waited for.
            if let header = inbound.header(of: 0) {
                let failure = inbound.descriptorFailure
                let descriptors = inbound.takeDescriptors()
                guard failure == nil, descriptors.count == 0 else { throw .badAddress }
                guard header.flags.isCommand else { throw .invalidArgument }
            }
            switch inbound.head() {
            case .message(let header, let length): return (header, length)
            case .malformed: throw .invalidArgument
            case .incomplete: break
            }
            // What comes behind it stays in the socket, which is then readable for the next call. A client that is not
            // kept, on a pipe, is waited for.
            switch inbound.receive(
                from: input, blocking: waitingMode == .blocking, beyond: false,
                interruptible: listener.isSocket)
            {
            case .received: break
            case .wouldBlock:
                var waiting = pollfd(fd: input, events: Int16(POLLIN), revents: 0)
                // One entry, as said. An interrupted wait counts as over.
                let now = Self.milliseconds()
                let left = (deadline ?? now + grace) - now
                deadline = now + left
                guard left > 0, unsafe CLinux.poll(&waiting, 1, CInt(clamping: left)) > 0 else {
                    throw .wouldBlock
                }
            case .ended:
                let isBetween = inbound.isEmpty || inbound.partialCount == MessageHeader.byteCount
                throw isBetween ? .noMessage : .connectionReset
            case .failed(let error): throw error
            }
        }
    }

    /// Judges a VERSION and writes the reply's payload.
    private func agree(
        _ header: MessageHeader, _ request: consuming Reader, to output: CInt
    ) throws(Errno) -> Settings {
        guard header.command == Command.version.rawValue else { throw .invalidArgument }
        guard request.remaining <= Self.longestVersion else { throw .invalidArgument }
        let version = try Version(decoding: &request).negotiated()
        let offered = try ClientCapabilities(
            decoding: &request, readingIOMMUFD: memorySettings.policy != .off)
        if let pageSize = offered.migrationPageSize, canMigrate, pageSize != 0,
            pageSize != sysconf(CInt(_SC_PAGESIZE))
        {
            throw .invalidArgument
        }
        var granted = ServerCapabilities()
        let wantsTwin = offered.wantsTwinSocket && offered.maxFDs > 0 && listener.isSocket
        if canMigrate { granted.migrationPageSize = Int64(sysconf(CInt(_SC_PAGESIZE))) }
        if wantsTwin { granted.twinSocketFDIndex = 0 }
        granted.writeMultiple = offered.writeMultiple
        if offered.pageSizes != nil { granted.pageSizes = Int64(sysconf(CInt(_SC_PAGESIZE))) }
        if let maps = offered.maxDMAMaps, maps > 0, doesDMA {
            granted.maxDMAMaps = min(maps, Int64(spaces.limit))
        }

        granted.iommufd = try agreeOnIOAS(offered.iommufd)

        let replies = outbound
        var reply = Writer(try replies.payload(capacity: Limits.maxCapabilityByteCount, to: output))
        try version.encode(into: &reply)
        try granted.encode(into: &reply)
        return Settings(
            maxTransfer: offered.maxTransferByteCount, wantsTwin: wantsTwin,
            writesMultiple: offered.writeMultiple, ioas: granted.iommufd,
            replyCount: reply.written)
    }

    /// Makes the second socket and returns the client's end.
    private func makeTwin(_ twin: inout TwinSocket?) throws(Errno) -> OwnedFD {
        var pair: [2 of CInt] = [-1, -1]
        var span = pair.mutableSpan
        // The call fills both elements.
        _ = try unsafe span.withUnsafeMutableBufferPointer { unsafe clx_socket_pair($0.baseAddress) }
            .orErrno()
        let theirs = OwnedFD(adopting: pair[1])
        let ours = OwnedFD(adopting: pair[0])
        twin = try TwinSocket(ours)
        return theirs
    }

    /// Milliseconds since some moment.
    private static func milliseconds() -> Int {
        var now = timespec()
        // The clock exists; the structure is the call's to fill.
        _ = unsafe clock_gettime(CLOCK_MONOTONIC, &now)
        return now.tv_sec * 1000 + now.tv_nsec / 1_000_000
    }
}
