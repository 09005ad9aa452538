public import SystemPackage

/// REGION_READ and REGION_WRITE, requests and replies. Data follows in a write request and in a read reply.
///
/// A reply to a request with `count` 0 has no payload at all. Source: vfio-user protocol, REGION_READ,
/// REGION_WRITE.
@usableFromInline package struct RegionAccess: WirePayload, BitwiseCopyable {
    @inlinable package static var byteCount: Int { 16 }

    // The fields are in the order of the wire.

    /// Offset in the region, in bytes.
    @usableFromInline package var offset: UInt64
    /// Region number.
    @usableFromInline package var region: UInt32
    /// Length of the access in bytes, 0 to 1 MiB.
    @usableFromInline package var count: UInt32

    @inlinable package init(offset: UInt64, region: UInt32, count: UInt32) {
        self.offset = offset
        self.region = region
        self.count = count
    }

    /// Decodes a read request, or a write reply.
    ///
    /// - Throws: EINVAL for a short payload or a count above 1 MiB.
    @inlinable package init(decoding reader: inout Reader) throws(Errno) {
        try reader.require(Self.byteCount)
        self = reader.value(as: Self.self)
        guard Int(count) <= Limits.maxTransferByteCount else { throw .invalidArgument }
    }

    /// Decodes a write request, or a read reply. The data is the rest of the reader's bytes.
    ///
    /// - Throws: EINVAL, also if not exactly `count` bytes follow.
    @inlinable package init(decodingWithData reader: inout Reader) throws(Errno) {
        try self.init(decoding: &reader)
        guard reader.remaining == Int(count) else { throw .invalidArgument }
    }

    @inlinable package func encode(into writer: inout Writer) throws(Errno) {
        try writer.require(Self.byteCount)
        writer.put(value: self)
    }
}
