/// What a controller is, for as long as it lives.
public struct ControllerConfiguration: Sendable {
    /// I/O queue pairs, 1...64.
    public var queuePairs = 64
    /// Entries of the largest queue, 2...4096.
    public var maxQueueEntries = 4096
    /// Interrupt vectors.
    public var vectors = 65
    /// Up to 20 ASCII characters.
    public var serialNumber = "0"
    /// Up to 40 ASCII characters.
    public var model = "vfio-user NVMe controller"
    /// Up to 8 ASCII characters.
    public var firmware = "1.0"
    /// PCI vendor and subsystem vendor id. Linux works round errors of some: this one is known for NVMe over vfio-user.
    public var vendor: UInt16 = 0x4e58
    /// The qualified name of the subsystem; empty: made of the serial number.
    public var subsystemName = ""
    /// Whether clients may be told to use doorbells in their own memory (Doorbell Buffer Config).
    public var offersShadowDoorbells = true
    /// Whether somebody calls ``NVMeController/process(budget:)`` over and over, so that clients need not ring.
    public var isPolled = true
    /// Commands that stores can have pending at once, 1...1024.
    public var slots = 256

    /// The defaults.
    public init() {}
}

/// Fixed properties of this controller.
enum Limit {
    /// Bytes of a memory page; CC.MPS can choose no other.
    static let pageSize = 4096
    /// Most bytes of one command, 2 to the power of MDTS pages.
    static let transferShift: UInt8 = 8
    static let transfer = pageSize << Int(transferShift)
    /// Ranges of one command's data: more than PRPs can name, and what a scatter-gather list may have. Odd, so that the
    /// ranges of different slots do not share cache lines' places.
    static let ranges = 1025
    /// Vectors: some ranges may lie in two mappings. More, and data is copied once more.
    static let vectors = ranges + 128
    /// Entries of one scatter-gather list, in all its segments.
    static let descriptors = ranges + 128
    static let eventRequests = 4
    static let errorEntries = 64
    static let completionByteCount = 16
}

/// What happened so far.
public struct Counters: BitwiseCopyable, Sendable {
    /// Read and compare commands.
    public var readCommands: UInt64 = 0
    /// Write commands.
    public var writeCommands: UInt64 = 0
    /// Bytes moved to clients.
    public var bytesRead: UInt64 = 0
    /// Bytes moved from clients.
    public var bytesWritten: UInt64 = 0
    /// Commands of every kind, from I/O queues.
    public var commands: UInt64 = 0
    /// Interrupts signalled.
    public var interrupts: UInt64 = 0
    /// Commands that failed, ever.
    public var errors: UInt64 = 0
    /// Times the store failed.
    public var mediaErrors: UInt64 = 0
    /// Times the client went, or reset the device, while the controller was enabled and not shut down.
    public var unsafeShutdowns: UInt64 = 0
    /// Times the controller was enabled for the first time since a client came, or reset the device.
    public var powerCycles: UInt64 = 0

    init() {}
}
