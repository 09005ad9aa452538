public import SystemPackage
internal import VFIOUserTransport
internal import VFIOUserWire

/// Answering the server's DMA_READ and DMA_WRITE while no call of the client waits for a reply.
extension Client {
    /// Answers the next command of the server, on whichever socket it comes.
    ///
    /// - Parameter timeout: nil waits for ever. ``ClientOptions/timeout`` does not count.
    /// - Returns: whether there was one in time.
    /// - Throws: `ENOTCONN` the server is gone; `EPROTO`; errors of sending the answer.
    @discardableResult
    public func serveOne(timeout: Duration? = nil) throws(Errno) -> Bool {
        try sendQueued()
        let deadline = Deadline(after: timeout)
        let before = servedDMACount
        while true {
            if try channel.serveWhatIsThere() || servedDMACount != before { return true }
            if deadline.hasPassed { return false }
            try channel.waitAndReceive(until: deadline)
        }
    }

    /// Answers the commands of the server that have come, on whichever socket, without waiting: for a driver that
    /// polls memory, which does not notice otherwise that the server wants something or has gone.
    ///
    /// - Throws: as ``serveOne(timeout:)``.
    public func serveAvailable() throws(Errno) {
        try sendQueued()
        while try channel.serveWhatIsThere() {}
        try channel.waitAndReceive(until: Deadline(after: .zero))
        while try channel.serveWhatIsThere() {}
    }

    /// Answers commands of the server until a condition holds, which is looked at after each, and before the
    /// first.
    ///
    /// - Throws: as ``serveOne(timeout:)``; `ETIMEDOUT` the condition did not come true in time.
    public func serveDMA(timeout: Duration? = nil, until condition: () -> Bool) throws(Errno) {
        let deadline = Deadline(after: timeout)
        while !condition() {
            if deadline.hasPassed { throw .timedOut }
            // Short waits: the condition may come true without a command, by the device's direct access for
            // instance.
            try serveOne(timeout: .milliseconds(1))
        }
    }

    /// Leaves the twin socket to a thread of its own, which answers until ``stopServingDMA()`` or the end of
    /// the client.
    ///
    /// - Throws: `ENOTSUP` the server gave no twin socket; `EAGAIN`, `EMFILE`.
    public func startServingDMA() throws(Errno) {
        guard thread == nil else { return }
        guard let twin = channel.companion else { throw .notSupported }
        thread = try DMAThread(twin)
        channel.companion = nil
    }

    /// Ends that thread; from then on the twin socket is served by this object's calls again.
    public func stopServingDMA() {
        guard let thread else { return }
        let twin = thread.stop()
        twin.timeout = channel.timeout
        channel.companion = twin
        self.thread = nil
    }
}

extension Channel {
    /// Deals with complete messages until one was a command.
    ///
    /// - Returns: whether one was.
    func serveWhatIsThere() throws(Errno) -> Bool {
        while case .message(let header, let length) = inbound.head() {
            try sortFront(header, length)
            if !header.flags.isReply { return true }
        }
        if case .malformed = inbound.head() {
            lose()
            throw .protocolError
        }
        return false
    }
}
