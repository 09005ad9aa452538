import NVMeDriver
import VFIOUserClient

/// The client's part: commands of one kind, as many at a time as the queue is deep.
struct Initiator: ~Copyable {
    private var queue: QueuePair
    private let namespace: Namespace
    private let address: UInt64
    private let opcode: UInt8
    private let depth: Int
    private var next: UInt64 = 0

    static let entries = 256
    private static let byteCount = 4096

    /// - Parameter address: of 4 KiB for each command.
    init(_ queue: consuming QueuePair, _ namespace: Namespace, address: UInt64, opcode: UInt8, depth: Int) {
        self.queue = queue
        self.namespace = namespace
        self.address = address
        self.opcode = opcode
        self.depth = depth
    }

    /// Puts the commands into the queue and rings.
    mutating func submit() throws(NVMeError) {
        for place in 0..<depth {
            next = next &* 2_862_933_555_777_941_757 &+ 3_037_000_493
            var command = Command.read(
                namespace, opcode == 5 ? 0 : (next >> 20) % namespace.blockCount, count: 1,
                to: address + UInt64(place * Self.byteCount))
            command.opcode = opcode
            _ = try queue.submit(command)
        }
        try queue.ring()
    }

    /// Takes their completions, all of which must be there.
    mutating func take() throws(NVMeError) {
        for _ in 0..<depth {
            guard let completion = try queue.poll() else { throw .timedOut(.command) }
            guard completion.status.isSuccess else { throw .command(completion.status) }
        }
    }
}
