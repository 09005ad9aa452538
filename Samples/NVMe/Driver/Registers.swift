/// Where the controller's registers are in BAR0 (NVMe 1.4, 3.1).
enum Register {
    static let capabilities: UInt64 = 0x00
    static let version: UInt64 = 0x08
    static let configuration: UInt64 = 0x14
    static let status: UInt64 = 0x1c
    static let adminQueueAttributes: UInt64 = 0x24
    static let adminSubmissionQueue: UInt64 = 0x28
    static let adminCompletionQueue: UInt64 = 0x30
    static let doorbells: UInt64 = 0x1000
}

/// CAP: what a controller can do before anything is asked of it.
public struct ControllerCapabilities: Equatable, Sendable {
    /// The register.
    public let rawValue: UInt64

    /// Entries of the largest I/O queue, 2...65536; of a controller that says 1, 1.
    public var maxQueueEntries: Int { Int(rawValue & 0xffff) + 1 }
    /// How long enabling and disabling may take, milliseconds.
    public var readyTimeout: Int { Int(rawValue >> 24 & 0xff) * 500 }
    /// Bytes from one doorbell to the next.
    public var doorbellStride: UInt64 { 4 << (rawValue >> 32 & 0xf) }
    /// Whether it has the NVM command set.
    public var hasNVMCommands: Bool { rawValue >> 37 & 1 == 1 }
    /// Whether memory pages may be 4 KiB.
    public var takesSmallestPages: Bool { rawValue >> 48 & 0xf == 0 }
}

/// CC: what the driver wants.
enum Configuration {
    static let enable: UInt32 = 1
    /// Entries of 64 and 16 bytes, pages of 4 KiB, NVM commands, round robin.
    static let running: UInt32 = 6 << 16 | 4 << 20 | enable
    /// SHN: normal shutdown.
    static let shutdown: UInt32 = 1 << 14
}

/// CSTS: what the controller is doing.
struct Status {
    let rawValue: UInt32

    var isReady: Bool { rawValue & 1 != 0 }
    var isFatal: Bool { rawValue & 2 != 0 }
    var isShutDown: Bool { rawValue >> 2 & 3 == 2 }
    /// What registers read as when the device is not there.
    var isAbsent: Bool { rawValue == .max }
}
