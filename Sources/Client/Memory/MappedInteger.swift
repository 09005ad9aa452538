public import Synchronization

/// The integers that mapped memory is accessed by: one access, never torn, never left out or repeated.
public protocol MappedInteger: FixedWidthInteger, UnsignedInteger, BitwiseCopyable, Sendable {
    /// Loads from an aligned place that another process may change.
    @unsafe static func loadMapped(_ pointer: UnsafeRawPointer) -> Self
    /// The same; what follows in program order happens after it.
    @unsafe static func loadMappedAcquiring(_ pointer: UnsafeRawPointer) -> Self
    /// Stores to an aligned place that another process may look at.
    @unsafe static func storeMapped(_ value: Self, _ pointer: UnsafeMutableRawPointer)
    /// The same; what precedes in program order happens before it.
    @unsafe static func storeMappedReleasing(_ value: Self, _ pointer: UnsafeMutableRawPointer)
}

// Safety of the four conformances: the caller vouches for a mapped and aligned place of the integer's size.
// An Atomic has its integer's layout, and every bit pattern is an integer.

extension UInt8: MappedInteger {
    /// See ``MappedInteger``.
    @unsafe @inlinable @inline(__always) public static func loadMapped(_ pointer: UnsafeRawPointer) -> Self {
        unsafe pointer.assumingMemoryBound(to: Atomic<Self>.self).pointee.load(ordering: .relaxed)
    }
    /// See ``MappedInteger``.
    @unsafe @inlinable @inline(__always) public static func loadMappedAcquiring(_ pointer: UnsafeRawPointer)
        -> Self
    {
        unsafe pointer.assumingMemoryBound(to: Atomic<Self>.self).pointee.load(ordering: .acquiring)
    }
    /// See ``MappedInteger``.
    @unsafe @inlinable @inline(__always)
    public static func storeMapped(_ value: Self, _ pointer: UnsafeMutableRawPointer) {
        unsafe pointer.assumingMemoryBound(to: Atomic<Self>.self).pointee.store(value, ordering: .relaxed)
    }
    /// See ``MappedInteger``.
    @unsafe @inlinable @inline(__always)
    public static func storeMappedReleasing(_ value: Self, _ pointer: UnsafeMutableRawPointer) {
        unsafe pointer.assumingMemoryBound(to: Atomic<Self>.self).pointee.store(value, ordering: .releasing)
    }
}

extension UInt16: MappedInteger {
    /// See ``MappedInteger``.
    @unsafe @inlinable @inline(__always) public static func loadMapped(_ pointer: UnsafeRawPointer) -> Self {
        unsafe pointer.assumingMemoryBound(to: Atomic<Self>.self).pointee.load(ordering: .relaxed)
    }
    /// See ``MappedInteger``.
    @unsafe @inlinable @inline(__always) public static func loadMappedAcquiring(_ pointer: UnsafeRawPointer)
        -> Self
    {
        unsafe pointer.assumingMemoryBound(to: Atomic<Self>.self).pointee.load(ordering: .acquiring)
    }
    /// See ``MappedInteger``.
    @unsafe @inlinable @inline(__always)
    public static func storeMapped(_ value: Self, _ pointer: UnsafeMutableRawPointer) {
        unsafe pointer.assumingMemoryBound(to: Atomic<Self>.self).pointee.store(value, ordering: .relaxed)
    }
    /// See ``MappedInteger``.
    @unsafe @inlinable @inline(__always)
    public static func storeMappedReleasing(_ value: Self, _ pointer: UnsafeMutableRawPointer) {
        unsafe pointer.assumingMemoryBound(to: Atomic<Self>.self).pointee.store(value, ordering: .releasing)
    }
}

extension UInt32: MappedInteger {
    /// See ``MappedInteger``.
    @unsafe @inlinable @inline(__always) public static func loadMapped(_ pointer: UnsafeRawPointer) -> Self {
        unsafe pointer.assumingMemoryBound(to: Atomic<Self>.self).pointee.load(ordering: .relaxed)
    }
    /// See ``MappedInteger``.
    @unsafe @inlinable @inline(__always) public static func loadMappedAcquiring(_ pointer: UnsafeRawPointer)
        -> Self
    {
        unsafe pointer.assumingMemoryBound(to: Atomic<Self>.self).pointee.load(ordering: .acquiring)
    }
    /// See ``MappedInteger``.
    @unsafe @inlinable @inline(__always)
    public static func storeMapped(_ value: Self, _ pointer: UnsafeMutableRawPointer) {
        unsafe pointer.assumingMemoryBound(to: Atomic<Self>.self).pointee.store(value, ordering: .relaxed)
    }
    /// See ``MappedInteger``.
    @unsafe @inlinable @inline(__always)
    public static func storeMappedReleasing(_ value: Self, _ pointer: UnsafeMutableRawPointer) {
        unsafe pointer.assumingMemoryBound(to: Atomic<Self>.self).pointee.store(value, ordering: .releasing)
    }
}

extension UInt64: MappedInteger {
    /// See ``MappedInteger``.
    @unsafe @inlinable @inline(__always) public static func loadMapped(_ pointer: UnsafeRawPointer) -> Self {
        unsafe pointer.assumingMemoryBound(to: Atomic<Self>.self).pointee.load(ordering: .relaxed)
    }
    /// See ``MappedInteger``.
    @unsafe @inlinable @inline(__always) public static func loadMappedAcquiring(_ pointer: UnsafeRawPointer)
        -> Self
    {
        unsafe pointer.assumingMemoryBound(to: Atomic<Self>.self).pointee.load(ordering: .acquiring)
    }
    /// See ``MappedInteger``.
    @unsafe @inlinable @inline(__always)
    public static func storeMapped(_ value: Self, _ pointer: UnsafeMutableRawPointer) {
        unsafe pointer.assumingMemoryBound(to: Atomic<Self>.self).pointee.store(value, ordering: .relaxed)
    }
    /// See ``MappedInteger``.
    @unsafe @inlinable @inline(__always)
    public static func storeMappedReleasing(_ value: Self, _ pointer: UnsafeMutableRawPointer) {
        unsafe pointer.assumingMemoryBound(to: Atomic<Self>.self).pointee.store(value, ordering: .releasing)
    }
}
