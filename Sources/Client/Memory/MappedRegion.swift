public import SystemPackage

/// A part of a device's region, mapped: accesses go to the memory and send no message.
///
/// Offsets are those of the region, so an address from the device's data sheet serves for both ways of
/// access.
public struct MappedRegion: Sendable {
    /// Region offset of the first byte mapped.
    public let start: UInt64
    /// The memory, which begins at ``start``.
    public let memory: MappedMemory

    /// Bytes mapped.
    public var count: Int { memory.count }

    /// Maps one of a region's mappable areas.
    ///
    /// - Parameter area: a place in `region.areas`.
    /// - Throws: `ENXIO` the region has no such area, or its file did not come or ends before the area;
    ///   `EACCES` the region cannot be read; `EINVAL`, `EOVERFLOW` an impossible area; the errno of `mmap`.
    public init(_ region: Client.RegionDescription, area: Int = 0) throws(Errno) {
        guard region.areas.indices.contains(area), let file = region.file else {
            throw .noSuchAddressOrDevice
        }
        guard region.isReadable else { throw .permissionDenied }
        let area = region.areas[area]
        let (offset, overflow) = region.fileOffset.addingReportingOverflow(area.offset)
        guard !overflow, let count = Int(exactly: area.size) else { throw .overflow }
        memory = try MappedMemory(
            sharing: file.descriptor, offset: offset, count: count, isWritable: region.isWritable)
        start = area.offset
    }

    /// Where a region offset is in the memory; one in front of it becomes a negative number.
    @inlinable @inline(__always)
    func place(_ offset: UInt64) -> Int { Int(truncatingIfNeeded: offset &- start) }

    /// Loads an integer.
    ///
    /// - Throws: `EINVAL` outside the area or not aligned to the integer's size; so do all of these.
    @inlinable @inline(__always)
    public func load<Value: MappedInteger>(at offset: UInt64, as type: Value.Type = Value.self) throws(Errno)
        -> Value
    {
        try memory.load(at: place(offset))
    }

    /// Loads an integer before anything that follows in the program.
    @inlinable @inline(__always)
    public func loadAcquiring<Value: MappedInteger>(
        at offset: UInt64, as type: Value.Type = Value.self
    ) throws(Errno) -> Value {
        try memory.loadAcquiring(at: place(offset))
    }

    /// Stores an integer. Into a region that cannot be written: `EINVAL`.
    @inlinable @inline(__always)
    public func store<Value: MappedInteger>(_ value: Value, at offset: UInt64) throws(Errno) {
        try memory.store(value, at: place(offset))
    }

    /// Stores an integer after anything that precedes in the program: what a doorbell needs.
    @inlinable @inline(__always)
    public func storeReleasing<Value: MappedInteger>(_ value: Value, at offset: UInt64) throws(Errno) {
        try memory.storeReleasing(value, at: place(offset))
    }

    /// A register that is stored to often.
    ///
    /// - Throws: `EINVAL` outside the area, not aligned, or not writable.
    public func doorbell(at offset: UInt64) throws(Errno) -> Doorbell {
        try unsafe Doorbell(
            memory, memory.place(place(offset), MemoryLayout<UInt32>.size, within: memory.writableCount))
    }
}

/// A 32-bit doorbell register in a mapped region: a store, no check, no message.
///
/// Safety: the place was checked when the value was made, and the memory it is in is kept.
@safe public struct Doorbell: @unchecked Sendable {
    private let memory: MappedMemory
    @usableFromInline let place: UnsafeMutableRawPointer

    init(_ memory: MappedMemory, _ place: UnsafeMutableRawPointer) {
        self.memory = memory
        unsafe self.place = unsafe place
    }

    /// Stores a value, after everything stored before in the program.
    @inlinable @inline(__always)
    public func ring(_ value: UInt32) {
        unsafe UInt32.storeMappedReleasing(value, place)
    }

    /// The value there now.
    @inlinable @inline(__always)
    public var value: UInt32 { unsafe UInt32.loadMapped(place) }
}
