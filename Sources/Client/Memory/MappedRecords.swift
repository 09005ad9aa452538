public import SystemPackage

/// A row of records of one size in mapped memory: the queues and rings by which drivers and devices talk.
///
/// The place is checked once, when the value is made; an access checks only the record's number. Records are
/// stored whole and are not one access: what tells the device of one comes after it, released
/// (``Doorbell/ring(_:)``). What the device writes is loaded by integers, the one that says the rest is there
/// first, acquired.
///
/// Safety: the records lie in the memory, which is kept.
@safe public struct MappedRecords: @unchecked Sendable {
    private let memory: MappedMemory
    @usableFromInline let first: UnsafeMutableRawPointer
    /// Records.
    public let count: Int
    /// Bytes from one record to the next.
    public let stride: Int

    /// - Parameters:
    ///   - offset: of the first record in the memory, bytes; a multiple of 8.
    ///   - stride: bytes of a record; a multiple of 8, at least 8.
    /// - Throws: `EINVAL` unless all of them are inside the memory and aligned, or the memory is mapped
    ///   read-only.
    public init(_ memory: MappedMemory, at offset: Int, count: Int, stride: Int) throws(Errno) {
        let (size, overflow) = count.multipliedReportingOverflow(by: stride)
        guard count >= 0, stride >= 8, stride & 7 == 0, !overflow else { throw .invalidArgument }
        let place = try unsafe memory.bytes(at: offset, count: size, within: memory.writableCount)
        guard UInt(bitPattern: place) & 7 == 0 else { throw .invalidArgument }
        self.memory = memory
        unsafe first = place
        self.count = count
        self.stride = stride
    }

    /// Where a part of a record is.
    @unsafe @inlinable @inline(__always)
    func place(_ index: Int, _ offset: Int, _ width: Int) throws(Errno) -> UnsafeMutableRawPointer {
        guard UInt(bitPattern: index) < UInt(bitPattern: count), offset >= 0, offset <= stride &- width,
            offset & (width &- 1) == 0
        else { throw .invalidArgument }
        return unsafe first + (index &* stride &+ offset)
    }

    /// Stores a record, or its beginning. Padding of the type is stored as it happens to be.
    ///
    /// - Throws: `EINVAL` there is no such record, or the value is longer than it; so do all of these.
    @inlinable @inline(__always)
    public func store<Record: BitwiseCopyable>(_ record: Record, at index: Int) throws(Errno) {
        guard UInt(bitPattern: index) < UInt(bitPattern: count), MemoryLayout<Record>.size <= stride else {
            throw .invalidArgument
        }
        // The record is inside the memory and as long.
        unsafe (first + index &* stride).storeBytes(of: record, as: Record.self)
    }

    /// Loads an integer at an offset in a record, a multiple of its size.
    @inlinable @inline(__always)
    public func load<Value: MappedInteger>(
        _ index: Int, offset: Int = 0, as type: Value.Type = Value.self
    ) throws(Errno) -> Value {
        // Inside the record; the first record and the stride are aligned to 8.
        try unsafe Value.loadMapped(place(index, offset, MemoryLayout<Value>.size))
    }

    /// Loads an integer before anything that follows in the program.
    @inlinable @inline(__always)
    public func loadAcquiring<Value: MappedInteger>(
        _ index: Int, offset: Int = 0, as type: Value.Type = Value.self
    ) throws(Errno) -> Value {
        try unsafe Value.loadMappedAcquiring(place(index, offset, MemoryLayout<Value>.size))
    }
}
