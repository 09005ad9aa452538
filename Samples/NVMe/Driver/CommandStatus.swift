/// How a command ended: the status field of a completion (NVMe 1.4, 4.6.1).
public struct CommandStatus: Equatable, Hashable, Sendable, BitwiseCopyable {
    /// Status code in bits 7:0, its type in 10:8, More in 13, Do Not Retry in 14.
    public let rawValue: UInt16

    /// A status of these bits.
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    /// The command was carried out.
    @inlinable public var isSuccess: Bool { rawValue & 0x7ff == 0 }
    /// Status code type: 0 generic, 1 of the command, 2 media and data integrity.
    public var type: UInt8 { UInt8(rawValue >> 8 & 7) }
    /// Status code.
    public var code: UInt8 { UInt8(truncatingIfNeeded: rawValue) }
    /// Trying again would fail again.
    public var mustNotRetry: Bool { rawValue & 1 << 14 != 0 }
}

extension CommandStatus: CustomStringConvertible {
    /// The status in words and numbers.
    public var description: String {
        let numbers = "type \(type), code 0x\(String(code, radix: 16))"
        guard let name = Self.names[rawValue & 0x7ff] else { return numbers }
        return "\(name) (\(numbers))"
    }

    private static let names: [UInt16: String] = [
        0x000: "success", 0x001: "invalid opcode", 0x002: "invalid field", 0x004: "data transfer error",
        0x006: "internal error", 0x007: "abort requested", 0x008: "aborted, the queue was deleted",
        0x00b: "invalid namespace or format", 0x00c: "command sequence error",
        0x00d: "invalid SGL segment descriptor", 0x00f: "data SGL length invalid",
        0x011: "SGL descriptor type invalid", 0x013: "invalid PRP offset", 0x020: "namespace write protected",
        0x080: "LBA out of range", 0x081: "capacity exceeded", 0x082: "namespace not ready",
        0x100: "completion queue invalid", 0x101: "invalid queue identifier", 0x102: "invalid queue size",
        0x108: "invalid interrupt vector", 0x109: "invalid log page", 0x10c: "invalid queue deletion",
        0x280: "write fault", 0x281: "unrecovered read error", 0x285: "compare failure",
    ]
}
