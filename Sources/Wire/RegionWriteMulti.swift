package import SystemPackage

/// REGION_WRITE_MULTI: the head of the request, after which `count` writes follow, and the reply, whose
/// count is that of the writes done.
///
/// Source: vfio-user protocol, REGION_WRITE_MULTI. Sent only if the server offers `write_multiple`.
package struct RegionWriteMulti: WirePayload, BitwiseCopyable {
    /// One write of 0 to 8 bytes.
    package struct Write: WirePayload, BitwiseCopyable {
        package static var byteCount: Int { 24 }
        /// Most bytes a write carries.
        package static var maxCount: UInt32 { 8 }

        /// Offset in the region, in bytes.
        package var offset: UInt64
        /// Region number.
        package var region: UInt32
        /// Bytes to write, 0...8.
        package var count: UInt32
        /// The first `count` bytes of this value in memory are the data.
        package var data: UInt64

        package init(offset: UInt64, region: UInt32, count: UInt32, data: UInt64) {
            self.offset = offset
            self.region = region
            self.count = count
            self.data = data
        }

        package init(decoding reader: inout Reader) throws(Errno) {
            try reader.require(Self.byteCount)
            offset = reader.uint64()
            region = reader.uint32()
            count = reader.uint32()
            data = reader.uint64()
            guard count <= Self.maxCount else { throw .invalidArgument }
        }

        package func encode(into writer: inout Writer) throws(Errno) {
            try writer.require(Self.byteCount)
            writer.put(offset)
            writer.put(region)
            writer.put(count)
            writer.put(data)
        }
    }

    package static var byteCount: Int { 8 }

    /// Request: writes that follow. Reply: writes done.
    package var count: UInt64

    package init(count: UInt64) { self.count = count }

    /// Decodes a reply.
    package init(decoding reader: inout Reader) throws(Errno) {
        try reader.require(Self.byteCount)
        count = reader.uint64()
    }

    /// Decodes the head of a request and leaves the reader at the first write.
    ///
    /// - Throws: EINVAL if writes are missing or one has an impossible count: decoding them cannot fail then.
    package init(decodingRequest reader: inout Reader) throws(Errno) {
        try self.init(decoding: &reader)
        let start = reader.consumed
        guard count <= reader.remaining / Write.byteCount else { throw .invalidArgument }
        for _ in 0..<count { _ = try Write(decoding: &reader) }
        reader.rewind(to: start)
    }

    package func encode(into writer: inout Writer) throws(Errno) {
        try writer.require(Self.byteCount)
        writer.put(count)
    }
}
