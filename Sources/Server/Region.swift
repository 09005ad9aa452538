internal import CLinux
public import SystemPackage

/// The regions of a PCI device (VFIO_PCI_*_REGION_INDEX).
public enum RegionIndex: UInt32, CaseIterable, Sendable {
    case bar0, bar1, bar2, bar3, bar4, bar5
    case rom
    case configuration
    case vga

    /// Whether this is one of the six base address registers.
    public var isBAR: Bool { rawValue <= Self.bar5.rawValue }
}

/// One region of a device as its author declares it.
public struct Region: Sendable {
    /// Properties of a region; the raw values are those of the C API.
    public struct Flags: OptionSet, Sendable {
        /// The bits.
        public let rawValue: UInt32
        /// Flags of these bits.
        public init(rawValue: UInt32) { self.rawValue = rawValue }

        /// Reported to the client as readable; not enforced.
        public static let read = Flags(rawValue: 1 << 0)
        /// Reported to the client as writable; not enforced.
        public static let write = Flags(rawValue: 1 << 1)
        /// Readable and writable.
        public static let readWrite: Flags = [.read, .write]
        /// Memory space; I/O space otherwise.
        public static let memory = Flags(rawValue: 1 << 2)
        /// Configuration space only: every access goes to the device's `read` and `write`, nothing is handled
        /// by the library.
        public static let alwaysDevice = Flags(rawValue: 1 << 3)
        /// An even BAR that takes the next one for its upper half.
        public static let bits64 = Flags(rawValue: 1 << 4)
        /// A prefetchable BAR.
        public static let prefetchable = Flags(rawValue: 1 << 5)

        static let all: Flags = [.readWrite, .memory, .alwaysDevice, .bits64, .prefetchable]
    }

    /// A part of a region that the client may map, in bytes from the region's start.
    public struct Area: Equatable, Sendable {
        /// Bytes from the region's start.
        public var offset: UInt64
        /// Bytes.
        public var size: UInt64
        /// An area of these.
        public init(offset: UInt64, size: UInt64) {
            self.offset = offset
            self.size = size
        }
    }

    /// Bytes; a BAR's is a power of two, at least 16 in memory space and 4 in I/O space. 0: no region.
    public var size: UInt64
    /// What it is and can.
    public var flags: Flags
    /// Whether accesses by message go to the device. Without, they fail with `EINVAL` (outside configuration space).
    public var isHandled: Bool
    /// The file behind the mappable areas. It stays the caller's: it is not closed, and must be open as long as
    /// the region is set up.
    public var file: FileDescriptor?
    /// Where in the file the region starts, bytes.
    public var fileOffset: UInt64
    /// What the client may map. With a file and none given, the whole region.
    public var mappableAreas: [Area]

    /// A region served by the device's `read` and `write`, mappable if there is a file.
    public init(
        size: UInt64, flags: Flags, isHandled: Bool = true, file: FileDescriptor? = nil,
        fileOffset: UInt64 = 0,
        mappableAreas: [Area] = []
    ) {
        self.size = size
        self.flags = flags
        self.isHandled = isHandled
        self.file = file
        self.fileOffset = fileOffset
        self.mappableAreas = mappableAreas
    }
}

/// The regions of one device.
///
/// What every access looks at is in memory of its own, so that looking counts no references and no accesses.
/// Unsafe inside: there are as many facts as regions, and an index is a `RegionIndex`, or checked.
@safe final class RegionTable {
    /// What decides about an access.
    struct Facts {
        var size: UInt64 = 0
        var isHandled = false
        var alwaysDevice = false
    }

    private let facts: UnsafeMutablePointer<Facts>
    private var states: [RegionState]

    init() {
        let count = RegionIndex.allCases.count
        states = [RegionState](repeating: RegionState(), count: count)
        unsafe facts = .allocate(capacity: count)
        unsafe facts.initialize(repeating: Facts(), count: count)
    }

    deinit { unsafe facts.deallocate() }

    /// How many there are.
    var count: Int { states.count }

    /// What decides about an access to a region.
    @inline(__always)
    func facts(of index: RegionIndex) -> Facts { unsafe facts[Int(index.rawValue)] }

    subscript(index: Int) -> RegionState {
        get { states[index] }
        set {
            states[index] = newValue
            unsafe facts[index] = Facts(
                size: newValue.size, isHandled: newValue.isHandled,
                alwaysDevice: newValue.flags.contains(.alwaysDevice))
        }
    }
}

/// A region as the server keeps it.
struct RegionState {
    var size: UInt64 = 0
    var flags: Region.Flags = []
    var isHandled = false
    var file: CInt = -1
    var fileOffset: UInt64 = 0
    var areas: [Region.Area] = []
    /// Newest first (vfio-user protocol, DEVICE_GET_REGION_IO_FDS).
    var notifiers: [IOEventFD] = []
}

/// A part of a region whose writes an eventfd can stand for (KVM's ioeventfd).
public struct IOEventFD: Sendable {
    /// -1: no descriptor. Like every descriptor here it stays the caller's.
    public var file: CInt
    /// Bytes from the region's start.
    public var offset: UInt64
    /// Bytes; 0: a write of any size.
    public var size: UInt32
    /// KVM's ioeventfd flags, passed to the client untouched.
    public var flags: UInt32
    /// Passed to the client untouched.
    public var match: UInt64
    /// Memory where the client keeps the value last written; -1: none.
    public var shadowFile: CInt
    /// Where in that memory, bytes.
    public var shadowOffset: UInt64

    /// A plain ioeventfd, or a shadow one when `shadowFile` is not -1.
    public init(
        file: CInt, offset: UInt64, size: UInt32, flags: UInt32 = 0, match: UInt64 = 0, shadowFile: CInt = -1,
        shadowOffset: UInt64 = 0
    ) {
        self.file = file
        self.offset = offset
        self.size = size
        self.flags = flags
        self.match = match
        self.shadowFile = shadowFile
        self.shadowOffset = shadowOffset
    }
}
