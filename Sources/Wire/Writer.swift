public import SystemPackage

/// Appends integers and bytes to a message in a buffer of fixed size. Never allocates.
///
/// `require(_:)` checks once that a whole struct fits, the stores after it cannot fail. A store that no
/// check covers would be a mistake in this module: it stops the program and never writes outside the
/// buffer.
///
/// Safety: integers go through MutableRawSpan's checked store. Copying and zeroing use its pointer for the
/// length of one call, over a range that was checked just before.
@usableFromInline package struct Writer: ~Copyable, ~Escapable {
    @usableFromInline var bytes: MutableRawSpan
    @usableFromInline var end: Int

    /// Writes from the first byte on; what the buffer held before is overwritten, never sent.
    @inlinable @_lifetime(copy bytes) package init(_ bytes: consuming MutableRawSpan) {
        self.bytes = bytes
        end = 0
    }

    /// The same over a span of bytes, which is borrowed until the writer goes.
    @inlinable @_lifetime(&span) package init(_ span: inout MutableSpan<UInt8>) {
        // Writing raw bytes into bytes: no bit pattern is invalid.
        self.init(unsafe span.mutableBytes)
    }

    /// Bytes written so far.
    @inlinable package var written: Int { end }

    /// Bytes that still fit.
    @inlinable package var space: Int { bytes.byteCount &- end }

    /// Makes sure that so many bytes fit.
    ///
    /// - Throws: ENOBUFS if not, or if the count is negative.
    @inlinable package func require(_ count: Int) throws(Errno) {
        guard count >= 0, count <= space else { throw .noBufferSpace }
    }

    /// Appends 2 bytes; the room must have been required.
    @inlinable package mutating func put(_ value: UInt16) {
        bytes.storeBytes(of: value, toByteOffset: end, as: UInt16.self)
        end &+= 2
    }

    /// Appends 4 bytes; the room must have been required.
    @inlinable package mutating func put(_ value: UInt32) {
        bytes.storeBytes(of: value, toByteOffset: end, as: UInt32.self)
        end &+= 4
    }

    /// Appends 8 bytes; the room must have been required.
    @inlinable package mutating func put(_ value: UInt64) {
        bytes.storeBytes(of: value, toByteOffset: end, as: UInt64.self)
        end &+= 8
    }

    /// Appends a whole struct of fixed-width integers without padding; the room must have been required.
    @inlinable package mutating func put<Value: BitwiseCopyable>(value: Value) {
        bytes.storeBytes(of: value, toByteOffset: end, as: Value.self)
        end &+= MemoryLayout<Value>.size
    }

    /// Appends a copy of the bytes.
    ///
    /// - Throws: ENOBUFS, with nothing written, if they do not fit.
    @inlinable package mutating func append(_ source: RawSpan) throws(Errno) {
        try require(source.byteCount)
        let start = end
        unsafe bytes.withUnsafeMutableBytes { target in
            unsafe source.withUnsafeBytes { source in
                // Both pointers are valid inside the closures only and do not leave them. The target ends
                // inside the buffer: require() found source.count bytes of room behind start.
                let target = unsafe UnsafeMutableRawBufferPointer(rebasing: target[start...])
                unsafe target.copyMemory(from: source)
            }
        }
        end &+= source.byteCount
    }

    /// The same for a span of bytes.
    @inlinable package mutating func append(_ source: Span<UInt8>) throws(Errno) {
        // Reading bytes as raw bytes: they have no padding.
        try append(unsafe source.bytes)
    }

    /// Appends so many bytes, which `body` gives; those that it does not give are zeros.
    ///
    /// - Throws: ENOBUFS, with nothing written, if they do not fit.
    package mutating func append(_ count: Int, _ body: (inout OutputRawSpan) -> Void) throws(Errno) {
        try require(count)
        let start = end
        unsafe bytes.withUnsafeMutableBytes { target in
            // As below; the span over the range stays in the closure.
            let target = unsafe UnsafeMutableRawBufferPointer(rebasing: target[start..<(start &+ count)])
            var output = unsafe OutputRawSpan(buffer: target, initializedCount: 0)
            body(&output)
            // Zeros of a type without invalid values, as many as there is room for.
            unsafe output.append(repeating: 0, count: output.freeCapacity, as: UInt8.self)
        }
        end &+= count
    }

    /// Appends so many zero bytes and lends them, to be filled in place.
    ///
    /// - Throws: ENOBUFS, with nothing written, if they do not fit.
    @inlinable @_lifetime(&self) @discardableResult
    package mutating func appendZeros(_ count: Int) throws(Errno) -> MutableRawSpan {
        try require(count)
        let start = end
        end &+= count
        unsafe bytes.withUnsafeMutableBytes { target in
            // The pointer is valid inside the closure and does not leave it; the range is inside the
            // buffer, as require() has found, and raw bytes may hold any value.
            let target = unsafe UnsafeMutableRawBufferPointer(rebasing: target[start..<(start &+ count)])
            _ = unsafe target.initializeMemory(as: UInt8.self, repeating: 0)
        }
        return bytes._mutatingExtracting(start..<end)
    }
}
