/// A command as it is in a submission queue: 64 bytes (NVMe 1.4, 4.2).
public struct SubmissionEntry: BitwiseCopyable, Sendable {
    /// Opcode, fuse and data pointer bits, command identifier.
    public var dword0: UInt32 = 0
    /// Namespace.
    public var namespace: UInt32 = 0
    /// Dwords 2 and 3.
    public var reserved: UInt64 = 0
    /// Metadata pointer.
    public var metadata: UInt64 = 0
    /// First entry of the data pointer.
    public var prp1: UInt64 = 0
    /// Second entry of the data pointer.
    public var prp2: UInt64 = 0
    /// Command dword 10.
    public var dword10: UInt32 = 0
    /// Command dword 11.
    public var dword11: UInt32 = 0
    /// Command dword 12.
    public var dword12: UInt32 = 0
    /// Command dword 13.
    public var dword13: UInt32 = 0
    /// Command dword 14.
    public var dword14: UInt32 = 0
    /// Command dword 15.
    public var dword15: UInt32 = 0

    /// All zeros.
    public init() {}

    /// Bytes of one entry.
    public static let byteCount = 64

    var opcode: UInt8 { UInt8(truncatingIfNeeded: dword0) }
    var identifier: UInt16 { UInt16(truncatingIfNeeded: dword0 >> 16) }
    /// Part of a fused operation (bits 9:8): none is offered.
    var isFused: Bool { dword0 & 0x300 != 0 }
    /// Whether the data pointer is the first entry of a scatter-gather list (bits 15:14 not 0). With 1 and 2 the metadata
    /// pointer differs, which no namespace needs.
    var usesSGL: Bool { dword0 & 0xc000 != 0 }
    /// Neither PRPs nor a scatter-gather list.
    var usesReservedPointer: Bool { dword0 & 0xc000 == 0xc000 }
    /// Logical block, of commands that name one.
    var firstBlock: UInt64 { UInt64(dword11) << 32 | UInt64(dword10) }
}

/// Namespace identifier that stands for every namespace.
let everyNamespace = UInt32.max

/// Opcodes of admin commands.
enum AdminOpcode: UInt8, CaseIterable {
    case deleteSubmissionQueue = 0x00
    case createSubmissionQueue = 0x01
    case getLogPage = 0x02
    case deleteCompletionQueue = 0x04
    case createCompletionQueue = 0x05
    case identify = 0x06
    case abort = 0x08
    case setFeatures = 0x09
    case getFeatures = 0x0a
    case asyncEventRequest = 0x0c
    case doorbellBufferConfig = 0x7c
    case formatNVM = 0x80
}

/// Opcodes of NVM commands.
enum NVMOpcode: UInt8, CaseIterable {
    case flush = 0x00
    case write = 0x01
    case read = 0x02
    case compare = 0x05
    case writeZeroes = 0x08
    case datasetManagement = 0x09
    case verify = 0x0c
}
