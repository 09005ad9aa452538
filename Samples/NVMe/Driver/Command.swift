/// A command without its identifier, which the queue pair gives it (NVMe 1.4, 4.2).
public struct Command: Sendable, BitwiseCopyable {
    /// The opcode.
    public var opcode: UInt8
    /// The namespace; 0 for none, all ones for every.
    public var namespace: UInt32
    /// Command dwords 10 (low) and 11.
    public var dwords10: UInt64 = 0
    /// Command dwords 12 (low) and 13.
    public var dwords12: UInt64 = 0
    /// Command dwords 14 (low) and 15.
    public var dwords14: UInt64 = 0
    /// Where the data is, an IOVA; of a command that makes a queue, where the queue is.
    public var address: UInt64 = 0
    /// Bytes of data.
    public var byteCount: Int = 0

    /// Any command.
    @inlinable
    public init(opcode: UInt8, namespace: UInt32) {
        self.opcode = opcode
        self.namespace = namespace
    }
}

extension Command {
    @inlinable
    init(_ opcode: UInt8, _ namespace: Namespace, _ block: UInt64, _ count: Int) {
        self.init(opcode: opcode, namespace: namespace.identifier)
        dwords10 = block
        // Number of blocks, from 0.
        dwords12 = UInt64(UInt16(truncatingIfNeeded: count &- 1))
    }

    /// Read: `count` blocks, 1...65536, from `block` on to an IOVA.
    @inlinable
    public static func read(_ namespace: Namespace, _ block: UInt64, count: Int, to address: UInt64)
        -> Command
    {
        var command = Command(0x02, namespace, block, count)
        command.address = address
        command.byteCount = count &<< namespace.blockShift
        return command
    }

    /// Write: `count` blocks, 1...65536, to `block` on from an IOVA.
    @inlinable
    public static func write(
        _ namespace: Namespace, _ block: UInt64, count: Int, from address: UInt64
    ) -> Command {
        var command = Command(0x01, namespace, block, count)
        command.address = address
        command.byteCount = count &<< namespace.blockShift
        return command
    }

    /// Compare: blocks with memory; another content ends it with the status compare failure.
    public static func compare(
        _ namespace: Namespace, _ block: UInt64, count: Int, with address: UInt64
    ) -> Command {
        var command = Command(0x05, namespace, block, count)
        command.address = address
        command.byteCount = count &<< namespace.blockShift
        return command
    }

    /// Write Zeroes: `count` blocks, 1...65536.
    public static func writeZeroes(_ namespace: Namespace, _ block: UInt64, count: Int) -> Command {
        Command(0x08, namespace, block, count)
    }

    /// Flush: everything written so far is made durable.
    public static func flush(_ namespace: Namespace) -> Command {
        Command(opcode: 0x00, namespace: namespace.identifier)
    }
}

extension Command {
    /// Identify: a page about what `kind` (CNS) says.
    static func identify(_ kind: UInt32, namespace: UInt32 = 0, to address: UInt64) -> Command {
        var command = Command(opcode: 0x06, namespace: namespace)
        command.dwords10 = UInt64(kind)
        command.address = address
        command.byteCount = 4096
        return command
    }

    /// Set Features: Number of Queues, both counts.
    static func setQueueCount(_ count: Int) -> Command {
        var command = Command(opcode: 0x09, namespace: 0)
        let fromZero = UInt64(UInt16(truncatingIfNeeded: count - 1))
        command.dwords10 = 0x07 | (fromZero << 16 | fromZero) << 32
        return command
    }

    /// Create I/O Completion Queue; contiguous.
    static func createCompletionQueue(
        _ identifier: UInt16, entries: Int, vector: UInt16?, at address: UInt64
    ) -> Command {
        var command = Command(opcode: 0x05, namespace: 0)
        command.address = address
        let interrupts: UInt64 = vector.map { UInt64($0) << 16 | 1 << 1 } ?? 0
        command.dwords10 = size(identifier, entries) | (interrupts | 1) << 32
        return command
    }

    /// Create I/O Submission Queue, for the completion queue of the same identifier; contiguous.
    static func createSubmissionQueue(_ identifier: UInt16, entries: Int, at address: UInt64) -> Command {
        var command = Command(opcode: 0x01, namespace: 0)
        command.address = address
        command.dwords10 = size(identifier, entries) | (UInt64(identifier) << 16 | 1) << 32
        return command
    }

    /// Delete I/O Submission Queue.
    static func deleteSubmissionQueue(_ identifier: UInt16) -> Command {
        var command = Command(opcode: 0x00, namespace: 0)
        command.dwords10 = UInt64(identifier)
        return command
    }

    /// Delete I/O Completion Queue.
    static func deleteCompletionQueue(_ identifier: UInt16) -> Command {
        var command = Command(opcode: 0x04, namespace: 0)
        command.dwords10 = UInt64(identifier)
        return command
    }

    private static func size(_ identifier: UInt16, _ entries: Int) -> UInt64 {
        UInt64(UInt16(truncatingIfNeeded: entries - 1)) << 16 | UInt64(identifier)
    }
}

/// A command as it is in a submission queue: 64 bytes.
struct SubmissionEntry: BitwiseCopyable {
    /// Dwords 0 and 1.
    var head: UInt64
    var reserved: UInt64 = 0
    var metadata: UInt64 = 0
    var pointer: DataPointer
    var dwords10: UInt64
    var dwords12: UInt64
    var dwords14: UInt64

    static let byteCount = 64

    init(_ command: Command, identifier: UInt16, _ pointer: DataPointer, usesSGL: Bool) {
        // PSDT 01: the data pointer is an SGL descriptor.
        let dword0 = UInt64(command.opcode) | (usesSGL ? 1 << 14 : 0) | UInt64(identifier) << 16
        head = dword0 | UInt64(command.namespace) << 32
        self.pointer = pointer
        dwords10 = command.dwords10
        dwords12 = command.dwords12
        dwords14 = command.dwords14
    }
}
