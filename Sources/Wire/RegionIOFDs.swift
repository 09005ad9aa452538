package import SystemPackage

/// DEVICE_GET_REGION_IO_FDS: the request, and the head of the reply. Sub-regions follow in the reply.
///
/// Source: vfio-user protocol, DEVICE_GET_REGION_IO_FDS.
package struct RegionIOFDs: WirePayload, BitwiseCopyable {
    package static var byteCount: Int { 16 }

    /// Request: the longest reply payload the client takes, 16 bytes to 1 MiB. Reply: what the complete
    /// answer needs.
    package var argsz: UInt32
    /// 0.
    package var flags: UInt32
    /// Region number.
    package var index: UInt32
    /// Request: 0. Reply: sub-regions there are, in the reply or not.
    package var count: UInt32

    /// A request.
    package init(index: UInt32, argsz: UInt32 = Self.argumentByteCount) {
        self.argsz = argsz
        flags = 0
        self.index = index
        count = 0
    }

    /// The head of a reply; `argsz` becomes what that many sub-regions need.
    package init(index: UInt32, replyCount: UInt32) {
        self.init(index: index)
        count = replyCount
        argsz = UInt32(clamping: Self.replyByteCount(count: replyCount))
    }

    /// Bytes of a reply with so many sub-regions. They all follow, or, if `argsz` of the request is less,
    /// none.
    package static func replyByteCount(count: UInt32) -> Int { byteCount + Int(count) * SubRegion.byteCount }

    package init(decoding reader: inout Reader) throws(Errno) {
        try reader.require(Self.byteCount)
        argsz = reader.uint32()
        flags = reader.uint32()
        index = reader.uint32()
        count = reader.uint32()
        try Self.check(argsz: argsz)
        guard flags == 0 else { throw .invalidArgument }
    }

    /// Decodes a request, whose `count` must be 0 and whose `argsz` at most 1 MiB.
    package init(decodingRequest reader: inout Reader) throws(Errno) {
        try self.init(decoding: &reader)
        guard count == 0, argsz <= Limits.maxArgumentByteCount else { throw .invalidArgument }
    }

    package func encode(into writer: inout Writer) throws(Errno) {
        try writer.require(Self.byteCount)
        writer.put(argsz)
        writer.put(flags)
        writer.put(index)
        writer.put(count)
    }
}

/// A piece of a region whose accesses go by a descriptor instead of a message.
///
/// For an ioregionfd, which nothing here produces, `shadowFDIndex` is padding and `shadowOffset` the user
/// data.
package struct SubRegion: WirePayload, BitwiseCopyable {
    /// How the descriptor is used.
    package enum Kind: UInt32, Sendable {
        case ioEventFD = 0
        case ioRegionFD = 1
        /// The value written is also stored in the shadow memory before the eventfd is signalled.
        case shadowIOEventFD = 2
    }

    package static var byteCount: Int { 48 }
    /// `fdIndex` of an entry without a descriptor.
    package static var noFD: UInt32 { .max }

    /// Offset in the region, in bytes.
    package var offset: UInt64
    /// Length in bytes; 0 for any length of access.
    package var size: UInt64
    /// Number of the descriptor among those that travel with the reply.
    package var fdIndex: UInt32
    /// A `Kind`'s raw value.
    package var kind: UInt32
    /// KVM_IOEVENTFD flags.
    package var flags: UInt32
    /// Number of the shadow memory's descriptor; 0 unless `kind` is `shadowIOEventFD`.
    package var shadowFDIndex: UInt32
    /// Offset in the shadow memory, in bytes; 0 unless `kind` is `shadowIOEventFD`.
    package var shadowOffset: UInt64
    /// Value an access must have to count, with the flag for it.
    package var dataMatch: UInt64

    package init(
        offset: UInt64, size: UInt64, fdIndex: UInt32, kind: Kind = .ioEventFD, flags: UInt32 = 0,
        shadowFDIndex: UInt32 = 0, shadowOffset: UInt64 = 0, dataMatch: UInt64 = 0
    ) {
        self.offset = offset
        self.size = size
        self.fdIndex = fdIndex
        self.kind = kind.rawValue
        self.flags = flags
        self.shadowFDIndex = shadowFDIndex
        self.shadowOffset = shadowOffset
        self.dataMatch = dataMatch
    }

    package init(decoding reader: inout Reader) throws(Errno) {
        try reader.require(Self.byteCount)
        offset = reader.uint64()
        size = reader.uint64()
        fdIndex = reader.uint32()
        kind = reader.uint32()
        flags = reader.uint32()
        shadowFDIndex = reader.uint32()
        shadowOffset = reader.uint64()
        dataMatch = reader.uint64()
    }

    package func encode(into writer: inout Writer) throws(Errno) {
        try writer.require(Self.byteCount)
        writer.put(offset)
        writer.put(size)
        writer.put(fdIndex)
        writer.put(kind)
        writer.put(flags)
        writer.put(shadowFDIndex)
        writer.put(shadowOffset)
        writer.put(dataMatch)
    }
}
