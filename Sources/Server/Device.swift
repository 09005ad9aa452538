public import SystemPackage

/// What a PCI device does when its client uses it.
///
/// Write a class, conform it to `Device`, implement what the device needs (everything has a default) and give an
/// instance to a ``DeviceServer``. Every method runs on the thread that runs the server, one at a time, and gets the
/// server, through which the device reads and writes client memory and triggers interrupts.
public protocol Device: AnyObject {
    /// The client reads from a region other than the configuration space, or from any region declared
    /// with ``Region/Access/everything`` handling.
    ///
    /// - Parameters:
    ///   - offset: bytes from the region's start; `offset + data.byteCount` is within the region.
    ///   - data: to be filled; it holds zeros.
    /// - Throws: the errno that the client's request fails with.
    func read(
        _ region: RegionIndex, at offset: UInt64, into data: inout MutableRawSpan, on server: DeviceServer
    ) throws(Errno)

    /// The client writes to a region; as ``read(_:at:into:on:)``.
    func write(
        _ region: RegionIndex, at offset: UInt64, from data: RawSpan, on server: DeviceServer
    ) throws(Errno)

    /// The client reads configuration space that is neither header nor a capability the library keeps. Only called
    /// when the configuration region was declared with a handler.
    ///
    /// - Returns: the number of bytes filled in, at least 1; the rest is asked for again.
    func readConfiguration(
        at offset: Int, into data: inout MutableRawSpan, on server: DeviceServer
    ) throws(Errno) -> Int

    /// The client writes such configuration space.
    ///
    /// - Returns: the number of bytes taken, at least 1; the rest is offered again.
    func writeConfiguration(at offset: Int, from data: RawSpan, on server: DeviceServer) throws(Errno) -> Int

    /// The client's memory is about to change, or the device to be reset: stop using client memory.
    ///
    /// Answer ``QuiesceState/pending`` when that takes time, and call ``DeviceServer/quiesced(error:)`` later; the
    /// server reads nothing from its client until then. From the answer ``QuiesceState/quiesced``, or that call, until the
    /// server's call returns, client memory must only be used inside ``dmaRegionAdded(_:on:)``,
    /// ``dmaRegionRemoved(_:on:)``, ``reset(_:on:)`` and migration callbacks.
    ///
    /// - Throws: the errno that the client's request fails with instead.
    func quiesce(on server: DeviceServer) throws(Errno) -> QuiesceState

    /// Resets the device. The library itself resets nothing else.
    ///
    /// - Throws: the errno that the client's request fails with; ignored for ``ResetKind/lostConnection``.
    func reset(_ kind: ResetKind, on server: DeviceServer) throws(Errno)

    /// Client memory became visible to the device. Also called when a client maps an existing region again.
    func dmaRegionAdded(_ region: DMARegion, on server: DeviceServer)

    /// Client memory is about to go; it can be used for the last time until this returns.
    func dmaRegionRemoved(_ region: DMARegion, on server: DeviceServer)

    /// The client attached an address space, in place of any other, or (`nil`) detached it; also when the client goes.
    /// Only in IOAS mode. Called after ``dmaRegionRemoved(_:on:)`` for all client memory of the old one, when that can be
    /// used no more, and before ``dmaRegionAdded(_:on:)`` for that of the new one.
    func addressSpaceChanged(to id: UInt32?, on server: DeviceServer)

    /// The client masked or unmasked interrupts `vectors` of a kind.
    func interruptsMasked(
        _ kind: InterruptKind, vectors: Range<UInt32>, masked: Bool, on server: DeviceServer)
}

extension Device {
    /// Fails with `EINVAL`: the device has no readable region.
    public func read(
        _ region: RegionIndex, at offset: UInt64, into data: inout MutableRawSpan, on server: DeviceServer
    ) throws(Errno) { throw .invalidArgument }

    /// Fails with `EINVAL`: the device has no writable region.
    public func write(
        _ region: RegionIndex, at offset: UInt64, from data: RawSpan, on server: DeviceServer
    ) throws(Errno) { throw .invalidArgument }

    /// Fails with `EINVAL`.
    public func readConfiguration(
        at offset: Int, into data: inout MutableRawSpan, on server: DeviceServer
    ) throws(Errno) -> Int { throw .invalidArgument }

    /// Fails with `EINVAL`.
    public func writeConfiguration(
        at offset: Int, from data: RawSpan, on server: DeviceServer
    ) throws(Errno) -> Int { throw .invalidArgument }

    /// The device does nothing on its own: always quiesced.
    public func quiesce(on server: DeviceServer) throws(Errno) -> QuiesceState { .quiesced }

    /// Nothing to reset.
    public func reset(_ kind: ResetKind, on server: DeviceServer) throws(Errno) {}

    /// Ignored.
    public func dmaRegionAdded(_ region: DMARegion, on server: DeviceServer) {}

    /// Ignored.
    public func dmaRegionRemoved(_ region: DMARegion, on server: DeviceServer) {}

    /// Ignored.
    public func addressSpaceChanged(to id: UInt32?, on server: DeviceServer) {}

    /// Ignored.
    public func interruptsMasked(
        _ kind: InterruptKind, vectors: Range<UInt32>, masked: Bool, on server: DeviceServer
    ) {}
}

/// How far a device is with quiescing.
public enum QuiesceState: Sendable {
    /// It uses no client memory from now on.
    case quiesced
    /// It still does; ``DeviceServer/quiesced(error:)`` follows.
    case pending
}

/// Why a device is reset. The raw values are those of the C API.
public enum ResetKind: CInt, Sendable {
    /// The client asked for it (vfio-user protocol, DEVICE_RESET).
    case device = 0
    /// The client is gone; its memory has been removed already.
    case lostConnection = 1
    /// A function-level reset by the PCI Express Device Control register.
    case functionLevel = 2
}
