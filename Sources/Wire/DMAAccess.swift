public import SystemPackage

/// DMA_READ and DMA_WRITE, sent by the server, and their replies. Data follows in a read reply and in a
/// write request.
///
/// Source: vfio-user protocol, DMA_READ, DMA_WRITE.
@usableFromInline package struct DMAAccess: WirePayload, BitwiseCopyable {
    @inlinable package static var byteCount: Int { 16 }

    /// IOVA of the first byte.
    @usableFromInline package var address: UInt64
    /// Length in bytes, at most the client's `max_data_xfer_size`.
    @usableFromInline package var count: UInt64

    @inlinable package init(address: UInt64, count: UInt64) {
        self.address = address
        self.count = count
    }

    /// Decodes a read request, or a write reply.
    ///
    /// - Throws: EINVAL for a short payload or a count above 1 MiB.
    @inlinable package init(decoding reader: inout Reader) throws(Errno) {
        try reader.require(Self.byteCount)
        address = reader.uint64()
        count = reader.uint64()
        guard count <= UInt64(truncatingIfNeeded: Limits.maxTransferByteCount) else { throw .invalidArgument }
    }

    /// Decodes a write request, or a read reply. The data is the rest of the reader's bytes.
    ///
    /// - Throws: EINVAL, also if not exactly `count` bytes follow.
    @inlinable package init(decodingWithData reader: inout Reader) throws(Errno) {
        try self.init(decoding: &reader)
        guard UInt64(truncatingIfNeeded: reader.remaining) == count else { throw .invalidArgument }
    }

    @inlinable package func encode(into writer: inout Writer) throws(Errno) {
        try writer.require(Self.byteCount)
        writer.put(address)
        writer.put(count)
    }
}
