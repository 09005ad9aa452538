package import SystemPackage

/// Flags of IOAS_MAP and IOAS_COPY.
package struct IOASMapFlags: OptionSet, Sendable, BitwiseCopyable {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }

    /// The device may write.
    package static var writeable: Self { Self(rawValue: 1 << 0) }
    /// The device may read.
    package static var readable: Self { Self(rawValue: 1 << 1) }
    /// The client chooses the IOVA; needs the feature `x-fixed-iova`.
    package static var fixedIOVA: Self { Self(rawValue: 1 << 2) }
    /// Every bit with a meaning.
    package static var known: Self { [.writeable, .readable, .fixedIOVA] }
}

/// IOAS_MAP, request and reply: puts memory of the fd that comes along into an address space.
///
/// Source: iommufd extension of vfio-user, IOAS_MAP.
package struct IOASMap: WirePayload, BitwiseCopyable {
    package static var byteCount: Int { 48 }

    /// Size of the struct, at least 48. In a reply: the reply's payload.
    package var argsz: UInt32
    package var flags: IOASMapFlags
    package var ioasID: UInt32
    /// 0.
    package var reserved: UInt32
    /// The client's own address of the memory: a cookie, never dereferenced.
    package var userVA: UInt64
    /// Bytes.
    package var length: UInt64
    /// Reply: where the device sees the memory. Request: the same with `fixedIOVA`, otherwise ignored.
    package var iova: UInt64
    /// Offset in the file, in bytes.
    package var offset: UInt64

    package init(
        ioasID: UInt32, flags: IOASMapFlags, userVA: UInt64 = 0, length: UInt64, iova: UInt64 = 0,
        offset: UInt64 = 0
    ) {
        argsz = Self.argumentByteCount
        self.flags = flags
        self.ioasID = ioasID
        reserved = 0
        self.userVA = userVA
        self.length = length
        self.iova = iova
        self.offset = offset
    }

    package init(decoding reader: inout Reader) throws(Errno) {
        try reader.require(Self.byteCount)
        argsz = reader.uint32()
        flags = IOASMapFlags(rawValue: reader.uint32())
        ioasID = reader.uint32()
        reserved = reader.uint32()
        userVA = reader.uint64()
        length = reader.uint64()
        iova = reader.uint64()
        offset = reader.uint64()
        try reader.requireZeroRest()
        try Self.check(argsz: argsz)
    }

    package func encode(into writer: inout Writer) throws(Errno) {
        try writer.require(Self.byteCount)
        writer.put(argsz)
        writer.put(flags.rawValue)
        writer.put(ioasID)
        writer.put(reserved)
        writer.put(userVA)
        writer.put(length)
        writer.put(iova)
        writer.put(offset)
    }
}

/// Flags of IOAS_UNMAP.
package struct IOASUnmapFlags: OptionSet, Sendable, BitwiseCopyable {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }

    /// Unmap everything; iova and length are 0.
    package static var all: Self { Self(rawValue: 1 << 0) }
    /// Every bit with a meaning.
    package static var known: Self { [.all] }
}

/// IOAS_UNMAP request. The reply has no payload, or with the feature `x-reply-args` this struct.
///
/// Source: iommufd extension of vfio-user, IOAS_UNMAP.
package struct IOASUnmap: WirePayload, BitwiseCopyable {
    package static var byteCount: Int { 32 }

    /// Size of the struct, at least 32. In a reply: the reply's payload.
    package var argsz: UInt32
    package var flags: IOASUnmapFlags
    package var ioasID: UInt32
    /// 0.
    package var reserved: UInt32
    package var iova: UInt64
    /// Bytes. Reply: bytes unmapped.
    package var length: UInt64

    package init(ioasID: UInt32, flags: IOASUnmapFlags = [], iova: UInt64, length: UInt64) {
        argsz = Self.argumentByteCount
        self.flags = flags
        self.ioasID = ioasID
        reserved = 0
        self.iova = iova
        self.length = length
    }

    package init(decoding reader: inout Reader) throws(Errno) {
        try reader.require(Self.byteCount)
        argsz = reader.uint32()
        flags = IOASUnmapFlags(rawValue: reader.uint32())
        ioasID = reader.uint32()
        reserved = reader.uint32()
        iova = reader.uint64()
        length = reader.uint64()
        try reader.requireZeroRest()
        try Self.check(argsz: argsz)
    }

    package func encode(into writer: inout Writer) throws(Errno) {
        try writer.require(Self.byteCount)
        writer.put(argsz)
        writer.put(flags.rawValue)
        writer.put(ioasID)
        writer.put(reserved)
        writer.put(iova)
        writer.put(length)
    }
}

/// IOAS_COPY, request and reply: shares memory of one address space with another. Needs the feature
/// `x-copy`.
///
/// Source: iommufd extension of vfio-user, IOAS_COPY.
package struct IOASCopy: WirePayload, BitwiseCopyable {
    package static var byteCount: Int { 40 }

    /// Size of the struct, at least 40. In a reply: the reply's payload.
    package var argsz: UInt32
    /// Rights the copy gets.
    package var flags: IOASMapFlags
    package var sourceID: UInt32
    package var destinationID: UInt32
    package var sourceIOVA: UInt64
    /// Reply: where the copy is. Request: the same with `fixedIOVA`, otherwise ignored.
    package var destinationIOVA: UInt64
    /// Bytes.
    package var length: UInt64

    package init(
        sourceID: UInt32, destinationID: UInt32, flags: IOASMapFlags, sourceIOVA: UInt64,
        destinationIOVA: UInt64 = 0,
        length: UInt64
    ) {
        argsz = Self.argumentByteCount
        self.flags = flags
        self.sourceID = sourceID
        self.destinationID = destinationID
        self.sourceIOVA = sourceIOVA
        self.destinationIOVA = destinationIOVA
        self.length = length
    }

    package init(decoding reader: inout Reader) throws(Errno) {
        try reader.require(Self.byteCount)
        argsz = reader.uint32()
        flags = IOASMapFlags(rawValue: reader.uint32())
        sourceID = reader.uint32()
        destinationID = reader.uint32()
        sourceIOVA = reader.uint64()
        destinationIOVA = reader.uint64()
        length = reader.uint64()
        try reader.requireZeroRest()
        try Self.check(argsz: argsz)
    }

    package func encode(into writer: inout Writer) throws(Errno) {
        try writer.require(Self.byteCount)
        writer.put(argsz)
        writer.put(flags.rawValue)
        writer.put(sourceID)
        writer.put(destinationID)
        writer.put(sourceIOVA)
        writer.put(destinationIOVA)
        writer.put(length)
    }
}
