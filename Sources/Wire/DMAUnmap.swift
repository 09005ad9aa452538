package import SystemPackage

/// DMA_UNMAP, request and reply; the reply repeats the request, then comes the bitmap if one was asked for.
///
/// Source: vfio-user protocol, DMA_UNMAP.
package struct DMAUnmap: WirePayload, BitwiseCopyable {
    /// What to unmap besides; none or one of them.
    package struct Flags: OptionSet, Sendable, BitwiseCopyable {
        package let rawValue: UInt32
        package init(rawValue: UInt32) { self.rawValue = rawValue }

        /// Report the dirty pages of the range before it goes; the struct is followed by a `BitmapRequest`.
        package static var getDirtyBitmap: Self { Self(rawValue: 1 << 0) }
        /// Unmap everything; address and size are 0.
        package static var all: Self { Self(rawValue: 1 << 1) }
    }

    /// Which bitmap is wanted: 16 bytes behind the fixed part.
    package struct BitmapRequest: WirePayload, BitwiseCopyable {
        package static var byteCount: Int { 16 }

        /// Bytes one bit stands for.
        package var pageSize: UInt64
        /// Length of the bitmap in bytes.
        package var size: UInt64

        package init(pageSize: UInt64, size: UInt64) {
            self.pageSize = pageSize
            self.size = size
        }

        package init(decoding reader: inout Reader) throws(Errno) {
            try reader.require(Self.byteCount)
            pageSize = reader.uint64()
            size = reader.uint64()
        }

        package func encode(into writer: inout Writer) throws(Errno) {
            try writer.require(Self.byteCount)
            writer.put(pageSize)
            writer.put(size)
        }
    }

    /// Bytes without the bitmap request.
    package static var byteCount: Int { 24 }

    /// Size of the answer: 24, or 40 and the bitmap's size; at most 1 MiB.
    package var argsz: UInt32
    package var flags: Flags
    /// IOVA of the first byte.
    package var address: UInt64
    /// Length in bytes.
    package var size: UInt64
    /// Present exactly when decoded with the flag `getDirtyBitmap`; encoded whenever present.
    package var bitmap: BitmapRequest?

    package init(flags: Flags = [], address: UInt64, size: UInt64, argsz: UInt32 = Self.argumentByteCount) {
        self.argsz = argsz
        self.flags = flags
        self.address = address
        self.size = size
        bitmap = nil
    }

    /// Unmaps a range and asks for its dirty pages. A bitmap too long for a message gets an `argsz` no
    /// server takes.
    package init(address: UInt64, size: UInt64, bitmap: BitmapRequest) {
        self.init(flags: .getDirtyBitmap, address: address, size: size)
        self.bitmap = bitmap
        argsz = UInt32(clamping: Self.replyByteCount(bitmap))
    }

    /// Unmaps everything.
    package static var everything: DMAUnmap { DMAUnmap(flags: .all, address: 0, size: 0) }

    /// Payload bytes of a successful reply; `Int.max` if that is no possible length.
    package var replyByteCount: Int {
        guard let bitmap else { return Self.byteCount }
        return Int(clamping: Self.replyByteCount(bitmap))
    }

    package init(decoding reader: inout Reader) throws(Errno) {
        try reader.require(Self.byteCount)
        argsz = reader.uint32()
        flags = Flags(rawValue: reader.uint32())
        address = reader.uint64()
        size = reader.uint64()
        bitmap = flags.contains(.getDirtyBitmap) ? try BitmapRequest(decoding: &reader) : nil
        guard argsz >= replyByteCount, argsz <= Limits.maxArgumentByteCount else { throw .invalidArgument }
    }

    package func encode(into writer: inout Writer) throws(Errno) {
        try writer.require(Self.byteCount + (bitmap == nil ? 0 : BitmapRequest.byteCount))
        writer.put(argsz)
        writer.put(flags.rawValue)
        writer.put(address)
        writer.put(size)
        try bitmap?.encode(into: &writer)
    }

    private static func replyByteCount(_ bitmap: BitmapRequest) -> UInt64 {
        let fixed = UInt64(byteCount + BitmapRequest.byteCount)
        let (total, overflow) = bitmap.size.addingReportingOverflow(fixed)
        return overflow ? .max : total
    }
}
