internal import Glibc
public import SystemPackage

extension MappedMemory {
    /// Where an aligned integer is, if all of it is inside `limit` bytes.
    @unsafe @inlinable @inline(__always)
    func place(_ offset: Int, _ width: Int, within limit: Int) throws(Errno) -> UnsafeMutableRawPointer {
        guard offset >= 0, offset <= limit &- width else { throw .invalidArgument }
        // Just checked to be inside the mapping.
        let place = unsafe base + offset
        guard UInt(bitPattern: place) & UInt(bitPattern: width &- 1) == 0 else { throw .invalidArgument }
        return unsafe place
    }

    /// Loads an integer.
    ///
    /// - Throws: `EINVAL` outside the memory or not aligned to the integer's size; so do all of these.
    @inlinable @inline(__always)
    public func load<Value: MappedInteger>(at offset: Int, as type: Value.Type = Value.self) throws(Errno)
        -> Value
    {
        try unsafe Value.loadMapped(place(offset, MemoryLayout<Value>.size, within: count))
    }

    /// Loads an integer before anything that follows in the program: for a flag that says other memory is
    /// ready.
    @inlinable @inline(__always)
    public func loadAcquiring<Value: MappedInteger>(
        at offset: Int, as type: Value.Type = Value.self
    ) throws(Errno) -> Value {
        try unsafe Value.loadMappedAcquiring(place(offset, MemoryLayout<Value>.size, within: count))
    }

    /// Stores an integer. Memory mapped read-only has no place for it: `EINVAL`.
    @inlinable @inline(__always)
    public func store<Value: MappedInteger>(_ value: Value, at offset: Int) throws(Errno) {
        try unsafe Value.storeMapped(value, place(offset, MemoryLayout<Value>.size, within: writableCount))
    }

    /// Stores an integer after anything that precedes in the program: for a doorbell.
    @inlinable @inline(__always)
    public func storeReleasing<Value: MappedInteger>(_ value: Value, at offset: Int) throws(Errno) {
        try unsafe Value.storeMappedReleasing(
            value, place(offset, MemoryLayout<Value>.size, within: writableCount))
    }

    /// Copies bytes out.
    ///
    /// - Throws: `EINVAL` outside the memory.
    public func read(at offset: Int, into target: inout MutableSpan<UInt8>) throws(Errno) {
        let source = try unsafe self.bytes(at: offset, count: target.count)
        // As many bytes in both, of memory that cannot overlap: the target is the caller's own.
        unsafe target.withUnsafeMutableBytes { target in
            if let start = target.baseAddress { unsafe memcpy(start, source, target.count) }
        }
    }

    /// Copies bytes out.
    ///
    /// - Throws: `EINVAL` outside the memory.
    public func read(at offset: Int, count: Int) throws(Errno) -> [UInt8] {
        let source = try unsafe self.bytes(at: offset, count: count)
        // All of it is initialised by the copy of count checked bytes.
        return unsafe Array(unsafeUninitializedCapacity: count) { target, initialised in
            if let start = target.baseAddress { unsafe memcpy(start, source, count) }
            initialised = count
        }
    }

    /// Copies bytes in.
    ///
    /// - Throws: `EINVAL` outside the memory, or mapped read-only.
    public func write(_ bytes: Span<UInt8>, at offset: Int) throws(Errno) {
        let target = try unsafe self.bytes(at: offset, count: bytes.count, within: writableCount)
        unsafe bytes.withUnsafeBytes { source in
            if let start = source.baseAddress { unsafe memmove(target, start, source.count) }
        }
    }

    /// Copies bytes in.
    ///
    /// - Throws: `EINVAL` outside the memory, or mapped read-only.
    public func write(_ bytes: [UInt8], at offset: Int) throws(Errno) {
        try write(bytes.span, at: offset)
    }

    /// Fills a range with one byte.
    ///
    /// - Throws: `EINVAL` outside the memory, or mapped read-only.
    public func fill(_ range: Range<Int>, with byte: UInt8 = 0) throws(Errno) {
        let target = try unsafe bytes(at: range.lowerBound, count: range.count, within: writableCount)
        unsafe memset(target, CInt(byte), range.count)
    }

    /// The first of `count` bytes, all inside the memory.
    @unsafe func bytes(at offset: Int, count: Int, within limit: Int? = nil) throws(Errno)
        -> UnsafeMutableRawPointer
    {
        let limit = limit ?? self.count
        guard offset >= 0, count >= 0, offset <= limit, count <= limit - offset else {
            throw .invalidArgument
        }
        return unsafe base + offset
    }
}
