package import SystemPackage

/// DEVICE_GET_REGION_INFO: the request, and the fixed part of the reply.
///
/// Source: vfio-user protocol, DEVICE_GET_REGION_INFO; `struct vfio_region_info` of Linux VFIO.
package struct RegionInfo: WirePayload, BitwiseCopyable {
    /// What the region allows.
    package struct Flags: OptionSet, Sendable, BitwiseCopyable {
        package let rawValue: UInt32
        package init(rawValue: UInt32) { self.rawValue = rawValue }

        package static var read: Self { Self(rawValue: 1 << 0) }
        package static var write: Self { Self(rawValue: 1 << 1) }
        /// Parts of it can be mapped into the client.
        package static var mmap: Self { Self(rawValue: 1 << 2) }
        /// A capability chain starts at `capOffset`.
        package static var caps: Self { Self(rawValue: 1 << 3) }
    }

    package static var byteCount: Int { 32 }

    /// Request: the longest reply payload the client takes. Reply: what the complete answer needs. At least
    /// 32.
    package var argsz: UInt32
    package var flags: Flags
    /// Region number; with `argsz` all a request says.
    package var index: UInt32
    /// Bytes from the start of this struct to the first capability; meaningful with the flag `caps`.
    package var capOffset: UInt32
    /// Size of the region in bytes; 0 if there is none.
    package var size: UInt64
    /// Offset of the region in the file of its fd, in bytes.
    package var offset: UInt64

    package init(
        index: UInt32, flags: Flags = [], capOffset: UInt32 = 0, size: UInt64 = 0, offset: UInt64 = 0,
        argsz: UInt32 = Self.argumentByteCount
    ) {
        self.argsz = argsz
        self.flags = flags
        self.index = index
        self.capOffset = capOffset
        self.size = size
        self.offset = offset
    }

    package init(decoding reader: inout Reader) throws(Errno) {
        try reader.require(Self.byteCount)
        argsz = reader.uint32()
        flags = Flags(rawValue: reader.uint32())
        index = reader.uint32()
        capOffset = reader.uint32()
        size = reader.uint64()
        offset = reader.uint64()
        try Self.check(argsz: argsz)
    }

    package func encode(into writer: inout Writer) throws(Errno) {
        try writer.require(Self.byteCount)
        writer.put(argsz)
        writer.put(flags.rawValue)
        writer.put(index)
        writer.put(capOffset)
        writer.put(size)
        writer.put(offset)
    }
}
