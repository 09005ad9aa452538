public import SystemPackage

/// Whether clients manage I/O address spaces themselves (IOAS mode), or map into one that is there from
/// the start (legacy mode): iommufd extension of vfio-user, "Negotiation".
public enum IOASPolicy: Sendable {
    /// Always legacy mode.
    case off
    /// IOAS mode with clients that offer it, legacy mode with others.
    case auto
    /// IOAS mode only: clients that do not offer it are refused with `ENOTSUP`.
    case require
}

/// Where the IOVAs of mappings come from in IOAS mode, unless the client chooses.
public enum IOVAPolicy {
    /// The IOVA is the address of the memory in this process.
    ///
    /// For servers whose hardware uses the process's own page tables. It tells the client the layout of
    /// the address space.
    case serverAddress
    /// The lowest free blocks in a window (both ends included), which tells the client nothing.
    case opaque(window: ClosedRange<UInt64> = IOVAPolicy.defaultWindow)
    /// The device says, for example the bus address that a driver gave the memory.
    case custom(any IOVAAllocator)

    /// From the second page up to 2^47; also for memory that has no address in this process.
    public static let defaultWindow: ClosedRange<UInt64> = 4096...(1 << 47) - 1
}

/// Gives mappings their IOVAs (``IOVAPolicy/custom(_:)``).
public protocol IOVAAllocator: AnyObject {
    /// The IOVA for memory that a client is mapping.
    ///
    /// The whole range must be free in the address space, else the client's request fails with
    /// `EADDRINUSE`, and within ``DeviceServer/iovaLimits``, else it fails with `EINVAL`. A refused answer
    /// counts as not given.
    ///
    /// - Throws: the errno that the client's request fails with.
    func allocateIOVA(for memory: IOVARequest, on server: DeviceServer) throws(Errno) -> UInt64

    /// A mapping with an IOVA of this allocator has gone, or could not be made after all.
    ///
    /// - Parameter size: bytes.
    func freeIOVA(_ iova: UInt64, size: UInt64, on server: DeviceServer)
}

/// Memory that needs an IOVA.
@safe
public struct IOVARequest {
    /// The id of the address space that it is mapped into.
    public let addressSpace: UInt32
    /// Bytes; at least 1.
    public let size: UInt64
    /// The first byte in this process; `nil` of memory that is reached by messages. Not to be touched once
    /// the mapping is gone.
    @unsafe public let address: UnsafeMutableRawPointer?
    /// Its file, which stays the server's; `nil` of memory that is reached by messages.
    public let file: FileDescriptor?
    /// Where in the file it begins, bytes.
    public let fileOffset: UInt64
}

/// Which IOVAs there may be in IOAS mode when the server does not choose them (IOVA_RANGES).
public struct IOVALimits: Sendable {
    /// A client's or an allocator's range must lie within one of these (both ends included).
    public let ranges: [ClosedRange<UInt64>]
    /// What IOVAs are a multiple of, bytes.
    public let alignment: UInt64

    /// All 64 bits, no alignment.
    public static let none = IOVALimits()

    /// - Parameter alignment: a power of two, at most the page size.
    /// - Throws: `EINVAL` no range, or another alignment.
    public init(ranges: [ClosedRange<UInt64>], alignment: UInt64 = 1) throws(Errno) {
        guard !ranges.isEmpty, alignment.nonzeroBitCount == 1, alignment <= pageSize else {
            throw .invalidArgument
        }
        self.ranges = ranges
        self.alignment = alignment
    }

    private init() {
        ranges = [0...UInt64.max]
        alignment = 1
    }

    /// The range that an IOVA is in; any other if it is in none.
    func range(for iova: UInt64) -> ClosedRange<UInt64> {
        // There is at least one.
        ranges.first { $0.contains(iova) } ?? ranges[0]
    }
}
