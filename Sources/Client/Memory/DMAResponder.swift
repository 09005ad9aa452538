internal import Glibc
internal import Synchronization
internal import SystemPackage
internal import VFIOUserSystem
internal import VFIOUserTransport
internal import VFIOUserWire

/// What both sockets need to answer the server's commands.
final class DMAResponder: Sendable {
    let table = DMATable()
    /// The `max_data_xfer_size` this client announced.
    let maxTransfer: Int
    /// Commands answered, errors included.
    let served = Atomic<Int>(0)

    init(maxTransfer: Int) { self.maxTransfer = maxTransfer }

    /// Finds the memory a command names.
    ///
    /// - Throws: `E2BIG` more than this client takes; those of ``DMATable/pieces(_:_:_:)``.
    func pieces(_ access: DMAAccess, _ rights: Client.DMARights) throws(Errno) -> [DMATable.Piece] {
        guard let count = Int(exactly: access.count), count <= maxTransfer else { throw .argListTooLong }
        return try table.pieces(access.address, count, rights)
    }

    /// Judges a command and, if it is a write, makes it.
    ///
    /// - Returns: the struct to be repeated in the reply, and the memory a read asked for.
    /// - Throws: see ``Channel/serveFront(_:_:)``.
    func carryOut(_ header: MessageHeader, _ payload: RawSpan) throws(Errno) -> (DMAAccess, [DMATable.Piece])
    {
        var reader = Reader(payload)
        switch Command(rawValue: header.command) {
        case .dmaRead:
            let access = try DMAAccess(decoding: &reader)
            return (access, try pieces(access, .read))
        case .dmaWrite:
            let access = try DMAAccess(decodingWithData: &reader)
            // All of it must be there before anything is written; together the pieces are as long as the
            // data.
            for piece in try pieces(access, .write) {
                let data = try reader.take(piece.count)
                try piece.memory.write(Span<UInt8>(_bytes: data), at: piece.offset)
            }
            return (access, [])
        default: throw .notSupported
        }
    }
}

extension Channel {
    /// Carries out and answers the first message, a command of the server.
    ///
    /// Source: vfio-user protocol, DMA_READ and DMA_WRITE. Errors: `EINVAL` a malformed request, `E2BIG` more
    /// than `max_data_xfer_size`, `EFAULT` memory that is not mapped, `EPERM` not for this direction,
    /// `EOPNOTSUPP` another command.
    ///
    /// - Throws: `EPROTO` for a message that is neither command nor reply; errors of sending the answer.
    func serveFront(_ header: MessageHeader, _ length: Int) throws(Errno) {
        guard header.flags.isCommand else {
            inbound.consume(length)
            throw .protocolError
        }
        responder.served.add(1, ordering: .relaxed)
        let access: DMAAccess
        let pieces: [DMATable.Piece]
        do throws(Errno) {
            // Done with the message before anything is sent: sending may receive.
            defer { inbound.consume(length) }
            let messages = inbound
            (access, pieces) = try responder.carryOut(header, messages.payload(length: length))
        } catch {
            try answer(header, error: error)
            return
        }
        try answer(header, access, pieces)
    }

    private func answer(
        _ header: MessageHeader, _ access: DMAAccess, _ pieces: [DMATable.Piece]
    ) throws(Errno) {
        guard !header.flags.contains(.noReply) else { return }
        if pieces.count <= 1 {
            // Straight from the memory, which the piece keeps.
            let data = try pieces.first.map { piece throws(Errno) in
                let start = try unsafe piece.memory.bytes(at: piece.offset, count: piece.count)
                return unsafe BorrowedBytes(UnsafeRawBufferPointer(start: start, count: piece.count))
            }
            try answer(header, access, data ?? .none)
        } else {
            var bytes: [UInt8] = []
            for piece in pieces { bytes += try piece.memory.read(at: piece.offset, count: piece.count) }
            // The array outlives the call.
            try unsafe bytes.span.withUnsafeBytes { data throws(Errno) in
                try answer(header, access, unsafe BorrowedBytes(data))
            }
        }
    }

    private func answer(
        _ header: MessageHeader, _ access: DMAAccess, _ data: BorrowedBytes
    ) throws(Errno) {
        var head: [32 of UInt8] = .init(repeating: 0)
        var span = head.mutableSpan
        var writer = Writer(unsafe span.mutableBytes)
        try header.reply(payloadByteCount: DMAAccess.byteCount + data.count).encode(into: &writer)
        try access.encode(into: &writer)
        try transmit(unsafe head.span.bytes, data)
    }

    private func answer(_ header: MessageHeader, error: Errno) throws(Errno) {
        guard !header.flags.contains(.noReply) else { return }
        var head: [16 of UInt8] = .init(repeating: 0)
        var span = head.mutableSpan
        var writer = Writer(unsafe span.mutableBytes)
        try header.errorReply(error).encode(into: &writer)
        try transmit(unsafe head.span.bytes)
    }

    /// Receives what is there and serves every complete command; replies have no place here.
    ///
    /// - Returns: how many were served.
    /// - Throws: `ENOTCONN` the server closed this socket; `EPROTO`; errors of the socket.
    func serveAvailable() throws(Errno) -> Int {
        var count = 0
        switch inbound.receive(from: socket.number, blocking: false) {
        case .received, .wouldBlock: break
        case .ended: throw .socketNotConnected
        case .failed(let error): throw error
        }
        while true {
            switch inbound.head() {
            case .incomplete: return count
            case .malformed: throw .protocolError
            case .message(let header, let length):
                try serveFront(header, length)
                count += 1
            }
        }
    }
}
