package import SystemPackage

/// DEVICE_FEATURE DMA_LOGGING_START, SET: dirty pages are recorded from now on. Follows the `DeviceFeature`
/// head; the ranges follow it. DMA_LOGGING_STOP has no struct.
///
/// Source: vfio-user protocol, VFIO_DEVICE_FEATURE_DMA_LOGGING_START.
package struct DMALoggingStart: WirePayload, BitwiseCopyable {
    /// A range of IOVAs to watch.
    package struct Range: WirePayload, BitwiseCopyable {
        package static var byteCount: Int { 16 }

        package var iova: UInt64
        /// Bytes.
        package var length: UInt64

        package init(iova: UInt64, length: UInt64) {
            self.iova = iova
            self.length = length
        }

        package init(decoding reader: inout Reader) throws(Errno) {
            try reader.require(Self.byteCount)
            iova = reader.uint64()
            length = reader.uint64()
        }

        package func encode(into writer: inout Writer) throws(Errno) {
            try writer.require(Self.byteCount)
            writer.put(iova)
            writer.put(length)
        }
    }

    package static var byteCount: Int { 16 }

    /// Bytes one dirty bit stands for.
    package var pageSize: UInt64
    /// Ranges that follow. A server may watch more than those, and need not look at them.
    package var rangeCount: UInt32
    package var reserved: UInt32

    package init(pageSize: UInt64, rangeCount: UInt32 = 0) {
        self.pageSize = pageSize
        self.rangeCount = rangeCount
        reserved = 0
    }

    package init(decoding reader: inout Reader) throws(Errno) {
        try reader.require(Self.byteCount)
        pageSize = reader.uint64()
        rangeCount = reader.uint32()
        reserved = reader.uint32()
    }

    package func encode(into writer: inout Writer) throws(Errno) {
        try writer.require(Self.byteCount)
        writer.put(pageSize)
        writer.put(rangeCount)
        writer.put(reserved)
    }
}

/// DEVICE_FEATURE DMA_LOGGING_REPORT, GET: request and reply. Follows the `DeviceFeature` head; in the
/// reply the bitmap follows it.
///
/// Source: vfio-user protocol, VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT.
package struct DMALoggingReport: WirePayload, BitwiseCopyable {
    package static var byteCount: Int { 24 }

    package var iova: UInt64
    /// Bytes.
    package var length: UInt64
    /// Bytes one bit of the report stands for.
    package var pageSize: UInt64

    package init(iova: UInt64, length: UInt64, pageSize: UInt64) {
        self.iova = iova
        self.length = length
        self.pageSize = pageSize
    }

    /// Bytes of the bitmap: a bit per page begun, in whole 64-bit words; nil for a page size of 0.
    ///
    /// Never overflows: the result is at most 2^61.
    package var bitmapByteCount: UInt64? {
        guard pageSize != 0 else { return nil }
        let pages = length / pageSize + (length % pageSize == 0 ? 0 : 1)
        let words = pages / 64 + (pages % 64 == 0 ? 0 : 1)
        return words * 8
    }

    package init(decoding reader: inout Reader) throws(Errno) {
        try reader.require(Self.byteCount)
        iova = reader.uint64()
        length = reader.uint64()
        pageSize = reader.uint64()
    }

    package func encode(into writer: inout Writer) throws(Errno) {
        try writer.require(Self.byteCount)
        writer.put(iova)
        writer.put(length)
        writer.put(pageSize)
    }
}
