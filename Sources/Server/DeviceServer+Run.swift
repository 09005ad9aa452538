internal import CLinux
public import SystemPackage
internal import VFIOUserSystem
internal import VFIOUserTransport
internal import VFIOUserWire

extension DeviceServer {
    /// Carries out the requests that are there, without waiting for more.
    ///
    /// Requests that arrived together are all carried out, and their replies sent together.
    ///
    /// - Returns: how many requests were carried out, failed ones included; 0 also if all there was were messages
    ///   refused before that (malformed, or the device could not be quiesced for them).
    /// - Throws: `EINVAL` not realized, or called from a callback; `EBUSY` waiting for ``quiesced(error:)``;
    ///   `ENOTCONN` no client, or it has gone and everything of it has been removed; the device's own error when it
    ///   could not quiesce for a client that has gone (call again); others of `recvmsg` and `sendmsg`.
    public func poll() throws(Errno) -> Int {
        if emptyPolls >= Self.quietAfter, inbound.isEmpty, clx_is_quiet(input) == 1 {
            requestError = nil
            return 0
        }
        return try process(blocking: false)
    }

    /// After so many empty polls in a row a poll first looks whether there is anything, which costs less than receiving.
    private static let quietAfter = 64

    /// After so many empty polls in a row nothing more seems to come: a client that asks and waits needs about eight.
    private static let idleAfter = 32

    /// Carries out requests for ever, waiting for them.
    ///
    /// - Throws: as ``poll()``; `EINTR` a signal handler ran while nothing was there to do. It returns in no other way.
    public func run() throws(Errno) -> Never {
        while true { _ = try process(blocking: true) }
    }

    /// Serves one client after the other, waiting for each.
    ///
    /// Clients whose VERSION is refused are passed over. For ``WaitingMode/blocking`` and devices that quiesce at once.
    ///
    /// - Throws: what ends the service: errors of the listening socket; `EINTR` a signal handler ran while it waited (call
    ///   again to go on); `ENOTCONN` when there can be no further client.
    public func serve() throws(Errno) -> Never {
        guard !isProcessing else { throw .invalidArgument }
        try realize()
        while true {
            do throws(Errno) {
                if !isAttached { try attach() }
                try run()
            } catch {
                switch error {
                case .socketNotConnected where !canGetClients: throw error
                case .socketNotConnected, .invalidArgument, .badAddress, .noMessage, .connectionReset,
                    .brokenPipe, .notSupported:
                    continue
                case .resourceBusy, .interrupted: throw error
                default: try giveUpClient(after: error)
                }
            }
        }
    }

    /// An error that leaves the connection useless but says nothing against other clients.
    ///
    /// - Throws: the error when there is no client; otherwise as ``disconnect()``.
    func giveUpClient(after error: Errno) throws(Errno) {
        guard isAttached else { throw error }
        log(.error, "client dropped: \(error)")
        try disconnect()
    }

    /// The descriptor to wait on for ``poll()`` or ``attach()`` to have something to do: readable when it is time.
    /// `nil` if there is none. It changes when a client is attached and when it leaves.
    public var pollDescriptor: FileDescriptor? {
        if input >= 0 { return FileDescriptor(rawValue: input) }
        if let candidate = candidate?.number { return FileDescriptor(rawValue: candidate) }
        let number = listener.pollNumber
        return number < 0 ? nil : FileDescriptor(rawValue: number)
    }

    /// What ``pollDescriptor`` depends on.
    struct Phase: Equatable {
        let serial: UInt64
        let hasCandidate: Bool
    }

    /// Whether a descriptor's number is that of a socket of this server, open now.
    func owns(_ number: CInt) -> Bool {
        number >= 0
            && (number == input || number == candidate?.number || number == listener.pollNumber)
    }

    var phase: Phase { Phase(serial: connectionSerial, hasCandidate: candidate != nil) }

    /// Whether a request, or the removal of a client that has gone, waits for ``quiesced(error:)``.
    public var isQuiescing: Bool {
        if case .none = pending { return false }
        return true
    }

    /// Whether there are requests, or late answers, that ``pollDescriptor`` does not show: ``poll()`` deals with them.
    ///
    /// That is so when the device has reached client memory by messages outside of its own methods and the client
    /// has sent requests meanwhile on the same socket.
    public var hasRequests: Bool {
        guard isAttached, !isQuiescing, !inbound.isEmpty else { return false }
        if case .incomplete = inbound.head(at: 0) { return false }
        return true
    }

    /// Whether a client is attached.
    public var isAttached: Bool { input >= 0 }

    private var canGetClients: Bool {
        if case .standardInputAndOutput = endpoint { return false }
        return listener.pollNumber >= 0
    }

    // As `flush`, part of its callers, for the reason that `clx_receive` has.
    @inline(__always)
    private func process(blocking: Bool) throws(Errno) -> Int {
        guard isRealized, !isProcessing else { throw .invalidArgument }
        guard case .none = pending else { throw .resourceBusy }
        guard input >= 0 else { throw .socketNotConnected }
        requestError = nil

        // Nothing makes the socket readable for them.
        if hasRequests {
            judgePolls(blocking)
            return try carryOutBuffered()
        }
        let outcome = inbound.receive(
            from: input, blocking: blocking, awaited: 0, beyond: true, interruptible: true)
        switch outcome {
        case .received:
            judgePolls(blocking)
            return try carryOutBuffered()
        case .wouldBlock:
            emptyPolls &+= 1
            if emptyPolls == Self.idleAfter { settleMemory(isIdle: true) }
            return 0
        case .ended:
            try disconnect(isClosed: true)
            throw .socketNotConnected
        case .failed(let error): throw error
        }
    }

    /// Judges whether polls come all the time, when one has found something, by how many before it found nothing. Two
    /// prove it; a single one ends the wait of those who poll until nothing is left and then sleep. None may be due to a
    /// quick client, or to a server that polls when there is something: to the latter if it goes on like that.
    @inline(__always)
    private func judgePolls(_ blocking: Bool) {
        if emptyPolls > 1 {
            pollingTrust = 4
        } else if pollingTrust > 0 {
            pollingTrust = blocking || emptyPolls == 1 ? 0 : pollingTrust &- 1
        }
        emptyPolls = 0
    }

    /// Carries out every complete request that has been received, and sends the replies.
    ///
    /// Nothing complete is left behind: buffered requests do not make the socket readable again.
    func carryOutBuffered() throws(Errno) -> Int {
        var handled = 0
        var failure: Errno?
        let serial = connectionSerial
        defer { settleMemory() }
        scan: while serial == connectionSerial {
            // For this request, or for the removal of a client that was found gone in the one before.
            guard !isQuiescing else {
                failure = .resourceBusy
                break
            }
            switch inbound.head(at: 0) {
            case .incomplete: break scan
            case .malformed(let header):
                refuse(header, length: MessageHeader.byteCount, .invalidArgument)
            case .message(let header, let length):
                do throws(Errno) {
                    switch try carryOut(header, length: length) {
                    case .done: handled += 1
                    case .refused, .pending: break
                    }
                } catch {
                    failure = failure ?? error
                }
            }
        }
        try flush(to: serial)
        if let failure { throw failure }
        return handled
    }

    /// Sends the replies gathered so far, unless that connection is gone. If it turns out to be gone now, its client's
    /// state is removed, or that is started.
    @inline(__always)
    func flush(to serial: UInt64) throws(Errno) {
        guard serial == connectionSerial, !outbound.isEmpty else { return }
        do throws(Errno) {
            try outbound.flush(to: output)
        } catch {
            guard Self.meansDisconnected(error) else { throw error }
            lostWhileReplying()
        }
    }

    static func meansDisconnected(_ error: Errno) -> Bool {
        switch error {
        case .brokenPipe, .connectionReset, .socketNotConnected, .timedOut: true
        default: false
        }
    }
}
