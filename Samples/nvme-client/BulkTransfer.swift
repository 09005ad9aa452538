internal import NVMeDriver
internal import VFIOUserClient

/// Moves many blocks in order: as many commands as there are buffers at a time, then what is to be done with their data.
struct BulkTransfer: ~Copyable {
    let namespace: Namespace
    private let controller: Controller
    private var queue: QueuePair
    private let buffer: DMABuffer
    /// Blocks of one command.
    private let blocksPerCommand: UInt64
    private let commandByteCount: Int

    private static let depth = 8
    /// Most bytes of one command.
    private static let commandLimit = 256 << 10

    init(_ controller: Controller, _ namespace: Namespace) throws(NVMeError) {
        let limit = min(Self.commandLimit, controller.maxTransfer)
        guard limit >= namespace.blockSize else { throw .unsupported(.blockFormat) }
        let perCommand = limit >> namespace.blockShift
        let buffer = try controller.makeBuffer(Self.depth * perCommand << namespace.blockShift)
        queue = try controller.makeQueuePair(entries: min(2 * Self.depth, controller.maxQueueEntries))
        self.controller = controller
        self.namespace = namespace
        self.buffer = buffer
        blocksPerCommand = UInt64(perCommand)
        commandByteCount = perCommand << namespace.blockShift
    }

    /// Bytes that `write` and `read` call back with at most.
    var pieceByteCount: Int { commandByteCount }

    /// Writes blocks, which `fill` puts into memory at an offset, a command's at a time, in order.
    mutating func write(
        _ blocks: Range<UInt64>, fill: (Range<UInt64>, MappedMemory, Int) throws -> Void
    ) throws {
        try wave(blocks, isWrite: true, before: fill, after: { _, _, _ in })
    }

    /// Reads blocks, which `use` finds in memory at an offset, a command's at a time, in order.
    mutating func read(
        _ blocks: Range<UInt64>, use: (Range<UInt64>, MappedMemory, Int) throws -> Void
    ) throws {
        try wave(blocks, isWrite: false, before: { _, _, _ in }, after: use)
    }

    /// Makes what was written durable.
    mutating func flush() throws(NVMeError) { try queue.execute(.flush(namespace)) }

    private mutating func wave(
        _ blocks: Range<UInt64>, isWrite: Bool, before: (Range<UInt64>, MappedMemory, Int) throws -> Void,
        after: (Range<UInt64>, MappedMemory, Int) throws -> Void
    ) throws {
        var next = blocks.lowerBound
        while next < blocks.upperBound {
            var pieces: [Range<UInt64>] = []
            while next < blocks.upperBound, pieces.count < min(Self.depth, queue.capacity) {
                let end = next + min(blocksPerCommand, blocks.upperBound - next)
                try before(next..<end, buffer.memory, pieces.count * commandByteCount)
                let address = buffer.iova &+ UInt64(pieces.count * commandByteCount)
                let count = Int(end - next)
                _ = try queue.submit(
                    isWrite
                        ? .write(namespace, next, count: count, from: address)
                        : .read(namespace, next, count: count, to: address))
                pieces.append(next..<end)
                next = end
            }
            try queue.ring()
            try finishAll()
            for (place, piece) in pieces.enumerated() {
                try after(piece, buffer.memory, place * commandByteCount)
            }
        }
    }

    private mutating func finishAll() throws(NVMeError) {
        while queue.outstandingCount > 0 {
            guard let completion = try queue.poll() else {
                try queue.idle()
                continue
            }
            guard completion.status.isSuccess else { throw .command(completion.status) }
        }
    }

    /// Gives queue and memory back.
    consuming func finish() throws(NVMeError) {
        let (controller, buffer) = (controller, buffer)
        try controller.delete(queue)
        try controller.remove(buffer)
    }
}
