public import SystemPackage
internal import VFIOUserTransport
internal import VFIOUserWire

/// Messages as such: pipelining, and odd ones.
extension Client {
    /// Adds a request to those that go out together; nothing is sent before ``sendQueued()``, ``reply(to:)``
    /// or the next call that sends. A request with files starts a send of its own, since the protocol ties
    /// descriptors to its first byte.
    ///
    /// - Returns: the id by which to ask for the reply.
    /// - Throws: `EMSGSIZE`; `EAGAIN` thousands of requests are not answered or asked for; for a request with
    ///   files those of ``sendQueued()``.
    @discardableResult
    public func queue(_ request: Request) throws(Errno) -> UInt16 {
        guard request.payload.count <= Limits.maxMessageByteCount - MessageHeader.byteCount else {
            throw .messageTooLong
        }
        if !request.files.isEmpty {
            try channel.sendQueued()
            return try send(request)
        }
        let id = try channel.newID()
        channel.queued += request.message(id: id)
        if request.expectsReply { channel.expectReply(to: id, request.command) }
        return id
    }

    /// Sends what is queued in one call (as far as the socket takes it at once).
    ///
    /// - Throws: `ENOTCONN`, `ETIMEDOUT`, others of `sendmsg`. The queue is empty afterwards in any case.
    public func sendQueued() throws(Errno) {
        try channel.sendQueued()
    }

    /// Sends a request without waiting for its reply.
    ///
    /// - Returns: the id by which to ask for the reply.
    /// - Throws: `ENOTCONN`, `ETIMEDOUT`, others of `sendmsg`.
    @discardableResult
    public func send(_ request: Request) throws(Errno) -> UInt16 {
        let id = try channel.newID()
        try send(request, id: id)
        return id
    }

    /// The same with an id of the caller's choice, unused or not.
    public func send(_ request: Request, id: UInt16) throws(Errno) {
        try channel.sendQueued()
        if request.expectsReply { channel.expectReply(to: id, request.command) }
        do throws(Errno) {
            try send(bytes: request.message(id: id), files: request.files)
        } catch {
            channel.forget(id)
            throw error
        }
    }

    /// Sends bytes that may be no message at all.
    ///
    /// - Throws: `ENOTCONN`, `ETIMEDOUT`, others of `sendmsg`.
    public func send(bytes: [UInt8], files: [FileDescriptor] = []) throws(Errno) {
        let numbers = files.map(\.rawValue)
        // The array outlives the call.
        try unsafe bytes.span.withUnsafeBytes { data throws(Errno) in
            try channel.transmit(RawSpan(), unsafe BorrowedBytes(data), descriptors: numbers)
        }
    }

    /// Waits for the reply to a request that was queued or sent, whatever came in between. Commands of the
    /// server are answered meanwhile.
    ///
    /// - Throws: `EINVAL` no reply is to come under that id; `EPROTO`, `ENOTCONN`, `ETIMEDOUT`. After a
    ///   time-out it can be asked for again.
    public func reply(to id: UInt16) throws(Errno) -> Message {
        try channel.sendQueued()
        return try channel.awaitCollected(id)
    }

    /// Sends requests in one go and waits for all replies.
    ///
    /// - Returns: the replies, error replies included, in the order of those requests that get one.
    /// - Throws: `EPROTO`, `ENOTCONN`, `ETIMEDOUT`, `EMSGSIZE`.
    public func pipeline(_ requests: [Request]) throws(Errno) -> [Message] {
        var ids: [UInt16] = []
        for request in requests {
            let id = try queue(request)
            if request.expectsReply { ids.append(id) }
        }
        try channel.sendQueued()
        var replies: [Message] = []
        replies.reserveCapacity(ids.count)
        for id in ids { replies.append(try reply(to: id)) }
        return replies
    }

    /// Sends one request and waits for its reply.
    ///
    /// - Throws: the errno of an error reply; `EPROTO`, `ENOTCONN`, `ETIMEDOUT`.
    @discardableResult
    public func perform(_ request: Request) throws(Errno) -> Message {
        try reply(to: send(request)).successful()
    }

    /// Waits for the next message of whatever kind, on the main socket. A command of the server is handed
    /// out, not answered.
    ///
    /// - Throws: `EPROTO` an impossible size; `ENOTCONN`, `ETIMEDOUT`.
    public func receive() throws(Errno) -> Message {
        try channel.sendQueued()
        if let reply = channel.takeCollected() { return reply }
        return try channel.awaitAnyMessage()
    }
}

extension Client.Message {
    /// The message itself unless it is an error reply.
    ///
    /// - Throws: the errno of the error reply.
    @discardableResult
    public func successful() throws(Errno) -> Self {
        if let error { throw error }
        return self
    }

    /// The data of a REGION_READ reply.
    ///
    /// - Throws: the errno of an error reply; `EPROTO` it is no such reply.
    public func regionData() throws(Errno) -> [UInt8] {
        try successful()
        guard command == Command.regionRead.rawValue else { throw .protocolError }
        if payload.isEmpty { return [] }
        try decodingReply { () throws(Errno) in
            var reader = Reader(payload.span)
            _ = try RegionAccess(decodingWithData: &reader)
        }
        return Array(payload.dropFirst(RegionAccess.byteCount))
    }
}
