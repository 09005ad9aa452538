package import SystemPackage

/// IOVA_RANGES, request and head of the reply: where IOVAs of an address space may lie. Needs the feature
/// `x-iova-ranges`.
///
/// Source: iommufd extension of vfio-user, IOVA_RANGES.
package struct IOVARanges: WirePayload, BitwiseCopyable {
    /// A range, both ends included.
    package struct Range: WirePayload, BitwiseCopyable {
        package static var byteCount: Int { 16 }

        package var start: UInt64
        package var last: UInt64

        package init(start: UInt64, last: UInt64) {
            self.start = start
            self.last = last
        }

        /// - Throws: EINVAL, also for a range that ends before it starts.
        package init(decoding reader: inout Reader) throws(Errno) {
            try reader.require(Self.byteCount)
            start = reader.uint64()
            last = reader.uint64()
            guard start <= last else { throw .invalidArgument }
        }

        package func encode(into writer: inout Writer) throws(Errno) {
            try writer.require(Self.byteCount)
            writer.put(start)
            writer.put(last)
        }
    }

    package static var byteCount: Int { 24 }

    /// Request: the longest reply payload the client takes. Reply: what the complete answer needs. At least
    /// 24.
    package var argsz: UInt32
    /// 0.
    package var flags: UInt32
    package var ioasID: UInt32
    /// Reply: ranges there are, in the reply or not. Ignored in a request.
    package var rangeCount: UInt32
    /// Reply: what IOVAs are a multiple of, in bytes, a power of two. Ignored in a request.
    package var alignment: UInt64

    package init(ioasID: UInt32, argsz: UInt32 = Self.argumentByteCount) {
        self.argsz = argsz
        flags = 0
        self.ioasID = ioasID
        rangeCount = 0
        alignment = 0
    }

    /// The head of a reply; `argsz` becomes what that many ranges need.
    package init(ioasID: UInt32, rangeCount: UInt32, alignment: UInt64) {
        self.init(ioasID: ioasID, argsz: UInt32(clamping: Self.replyByteCount(rangeCount: rangeCount)))
        self.rangeCount = rangeCount
        self.alignment = alignment
    }

    /// Bytes of a reply with so many ranges. They all follow, or, if `argsz` of the request is less, none.
    package static func replyByteCount(rangeCount: UInt32) -> Int {
        byteCount + Int(rangeCount) * Range.byteCount
    }

    /// Decodes a request.
    package init(decoding reader: inout Reader) throws(Errno) {
        try self.init(fieldsOf: &reader)
        try reader.requireZeroRest()
        try Self.check(argsz: argsz)
    }

    /// Decodes the head of a reply; the ranges are the rest of the reader's bytes.
    ///
    /// - Throws: EINVAL, also if neither all the ranges nor none of them follow.
    package init(decodingReply reader: inout Reader) throws(Errno) {
        try self.init(fieldsOf: &reader)
        try Self.check(argsz: argsz)
        guard reader.remaining == 0 || reader.remaining == Int(rangeCount) * Range.byteCount else {
            throw .invalidArgument
        }
    }

    private init(fieldsOf reader: inout Reader) throws(Errno) {
        try reader.require(Self.byteCount)
        argsz = reader.uint32()
        flags = reader.uint32()
        ioasID = reader.uint32()
        rangeCount = reader.uint32()
        alignment = reader.uint64()
    }

    package func encode(into writer: inout Writer) throws(Errno) {
        try writer.require(Self.byteCount)
        writer.put(argsz)
        writer.put(flags)
        writer.put(ioasID)
        writer.put(rangeCount)
        writer.put(alignment)
    }
}
