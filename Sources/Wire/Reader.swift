public import SystemPackage

/// Takes integers and byte ranges from the front of a received payload.
///
/// `require(_:)` checks once that a whole struct is there, the loads after it cannot fail. A load that no
/// check covers would be a mistake in this module: it stops the program and never reads outside the bytes.
///
/// Safety: the only unsafe operation is RawSpan's unaligned load. It checks its bounds itself; what is
/// unsafe is the type it produces, and every bit pattern is a valid fixed-width integer.
@usableFromInline package struct Reader: ~Copyable, ~Escapable {
    @usableFromInline let bytes: RawSpan
    @usableFromInline var position: Int

    /// Reads from the first byte on. The bytes must not change meanwhile.
    @inlinable @_lifetime(copy bytes) package init(_ bytes: RawSpan) {
        self.bytes = bytes
        position = 0
    }

    /// The same over a span of bytes.
    @inlinable @_lifetime(copy span) package init(_ span: Span<UInt8>) {
        // Reading bytes as raw bytes: they have no padding.
        self.init(unsafe span.bytes)
    }

    /// Bytes not taken yet.
    @inlinable package var remaining: Int { bytes.byteCount &- position }

    /// Bytes taken already.
    @inlinable package var consumed: Int { position }

    /// Makes sure that so many bytes are left.
    ///
    /// - Throws: EINVAL if not, or if the count is negative.
    @inlinable package func require(_ count: Int) throws(Errno) {
        guard count >= 0, count <= remaining else { throw .invalidArgument }
    }

    /// The next 2 bytes; they must have been required.
    @inlinable package mutating func uint16() -> UInt16 {
        // In bounds by the load's own check, valid for any bits: see the type.
        let value = unsafe bytes.unsafeLoadUnaligned(fromByteOffset: position, as: UInt16.self)
        position &+= 2
        return value
    }

    /// The next 4 bytes; they must have been required.
    @inlinable package mutating func uint32() -> UInt32 {
        // In bounds by the load's own check, valid for any bits: see the type.
        let value = unsafe bytes.unsafeLoadUnaligned(fromByteOffset: position, as: UInt32.self)
        position &+= 4
        return value
    }

    /// The next 8 bytes; they must have been required.
    @inlinable package mutating func uint64() -> UInt64 {
        // In bounds by the load's own check, valid for any bits: see the type.
        let value = unsafe bytes.unsafeLoadUnaligned(fromByteOffset: position, as: UInt64.self)
        position &+= 8
        return value
    }

    /// The next bytes as a whole struct; they must have been required.
    ///
    /// - Parameter type: a struct of fixed-width integers, without padding: its fields lie as on the wire.
    @inlinable package mutating func value<Value: BitwiseCopyable>(as type: Value.Type) -> Value {
        // In bounds by the load's own check, valid for any bits: see the type.
        let value = unsafe bytes.unsafeLoadUnaligned(fromByteOffset: position, as: Value.self)
        position &+= MemoryLayout<Value>.size
        return value
    }

    /// Takes so many bytes.
    ///
    /// - Throws: EINVAL, with nothing taken, if fewer are left.
    @inlinable @_lifetime(copy self) package mutating func take(_ count: Int) throws(Errno) -> RawSpan {
        try require(count)
        let start = position
        position &+= count
        return bytes.extracting(start..<position)
    }

    /// Goes back to a place that `consumed` named; does nothing for one that is still ahead.
    package mutating func rewind(to place: Int) {
        if place >= 0 && place < position { position = place }
    }

    /// Takes all bytes that are left.
    @inlinable @_lifetime(copy self) package mutating func rest() -> RawSpan {
        let start = position
        position = bytes.byteCount
        return bytes.extracting(start..<position)
    }

    /// Takes all bytes that are left, which must be zero: fields of a later version of the struct that are
    /// not in use.
    ///
    /// - Throws: E2BIG if one is not. Source: iommufd extension, rules common to every command.
    package mutating func requireZeroRest() throws(Errno) {
        while remaining >= 8 {
            if uint64() != 0 { throw .argListTooLong }
        }
        while remaining > 0 {
            // In bounds by the loop's condition, valid for any bits: see the type.
            if unsafe bytes.unsafeLoadUnaligned(fromByteOffset: position, as: UInt8.self) != 0 {
                throw .argListTooLong
            }
            position &+= 1
        }
    }
}
