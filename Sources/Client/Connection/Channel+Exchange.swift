internal import SystemPackage
internal import VFIOUserTransport
internal import VFIOUserWire

extension Channel {
    /// Sends a command: header and struct from the stack, data from where it is.
    ///
    /// - Throws: `EMSGSIZE` for more than a message holds; those of ``transmit(_:_:descriptors:)``.
    func send<Payload: WirePayload>(
        _ command: Command, id: UInt16, flags: MessageHeader.Flags = [], _ payload: Payload,
        data: BorrowedBytes = .none, descriptors: [CInt] = []
    ) throws(Errno) {
        if !queued.isEmpty { try sendQueued() }
        var head: [72 of UInt8] = .init(repeating: 0)
        var length = 0
        do {
            var span = head.mutableSpan
            // Writing raw bytes into bytes.
            var writer = Writer(unsafe span.mutableBytes)
            // The payload may bring more than its fixed part, so the size is known only behind it.
            try writer.appendZeros(MessageHeader.byteCount)
            try payload.encode(into: &writer)
            length = writer.written
        }
        guard data.count <= Limits.maxMessageByteCount - length else { throw .messageTooLong }
        let payloadCount = length - MessageHeader.byteCount + data.count
        do {
            var span = head.mutableSpan
            var writer = Writer(unsafe span.mutableBytes)
            try MessageHeader(id: id, command: command, payloadByteCount: payloadCount, flags: flags)
                .encode(into: &writer)
        }
        // Bytes as raw bytes.
        try transmit(unsafe head.span.bytes.extracting(first: length), data, descriptors: descriptors)
    }

    /// Sends what is queued in one call, if the socket takes it at once. The queue is empty afterwards in any
    /// case.
    func sendQueued() throws(Errno) {
        guard !queued.isEmpty else { return }
        var bytes: [UInt8] = []
        swap(&bytes, &queued)
        // Keeps the memory for the next queue.
        defer {
            bytes.removeAll(keepingCapacity: true)
            swap(&bytes, &queued)
        }
        // The array outlives the call.
        try unsafe bytes.span.withUnsafeBytes { data throws(Errno) in
            try transmit(RawSpan(), unsafe BorrowedBytes(data))
        }
    }

    /// Sends a command and gives its reply's payload and descriptors to `body`, in place.
    ///
    /// - Throws: the errno of an error reply; `EPROTO` a reply to something else; what `body` throws;
    ///   `ENOTCONN`, `ETIMEDOUT` and the errors of the socket.
    func exchange<Payload: WirePayload, Result>(
        _ command: Command, _ payload: Payload,
        data: BorrowedBytes = .none, descriptors: [CInt] = [],
        _ body: (RawSpan, inout ReceivedFDs) throws(Errno) -> Result
    ) throws(Errno) -> Result {
        let id = try newID()
        try send(command, id: id, payload, data: data, descriptors: descriptors)
        return try awaitReply(to: id, command: command.rawValue, body)
    }

    /// Waits for the reply to a command sent just now; see ``exchange(_:_:data:descriptors:_:)``.
    func awaitReply<Result>(
        to id: UInt16, command: UInt16, _ body: (RawSpan, inout ReceivedFDs) throws(Errno) -> Result
    ) throws(Errno) -> Result {
        let (header, length): (MessageHeader, Int)
        do throws(Errno) {
            (header, length) = try awaitFrontReply(to: id)
        } catch {
            abandon(id)
            throw error
        }
        defer { inbound.consume(length) }
        guard header.command == command else { throw .protocolError }
        guard !header.flags.contains(.error) else { throw header.error }
        var received = inbound.takeDescriptors()
        let messages = inbound
        return try body(messages.payload(length: length), &received)
    }

    /// Waits until the first message is the reply with this id, dealing with what comes before it.
    func awaitFrontReply(to id: UInt16) throws(Errno) -> (MessageHeader, Int) {
        while true {
            let (header, length) = try awaitFront()
            if header.flags.isReply, header.id == id { return (header, length) }
            try sortFront(header, length)
        }
    }

    /// Waits until the reply with this id, which is to come, has been put aside, and takes it.
    func awaitCollected(_ id: UInt16) throws(Errno) -> Client.Message {
        guard
            let command = outstanding.first(where: { $0.id == id })?.command
                ?? collected.first(where: { $0.id == id })?.command
        else { throw .invalidArgument }
        while true {
            if let reply = takeCollected(id) {
                guard reply.command == command else { throw .protocolError }
                return reply
            }
            let (header, length) = try awaitFront()
            try sortFront(header, length)
        }
    }

    /// Waits for any message and takes it out of the stream, server commands included.
    func awaitAnyMessage() throws(Errno) -> Client.Message {
        let (header, length) = try awaitFront()
        if header.flags.isReply { forget(header.id) }
        return takeMessage(header, length)
    }

    /// Waits until the first message has come whole.
    private func awaitFront() throws(Errno) -> (MessageHeader, Int) {
        let deadline = Deadline(after: timeout)
        while true {
            switch inbound.head() {
            case .incomplete: try fill(until: deadline)
            case .malformed:
                lose()
                throw .protocolError
            case .message(let header, let length): return (header, length)
            }
        }
    }

    /// Deals with the first message when nobody waits for it: a reply is put aside, a command answered.
    ///
    /// - Throws: `EPROTO` a reply to nothing, or neither.
    func sortFront(_ header: MessageHeader, _ length: Int) throws(Errno) {
        guard header.flags.isReply else { return try serveFront(header, length) }
        guard collect(header, length) else {
            inbound.consume(length)
            throw .protocolError
        }
    }
}

/// Runs a decoder of received bytes: what it refuses is the server's mistake.
@inline(__always)
func decodingReply<Result>(_ body: () throws(Errno) -> Result) throws(Errno) -> Result {
    do throws(Errno) { return try body() } catch { throw error == .invalidArgument ? .protocolError : error }
}
