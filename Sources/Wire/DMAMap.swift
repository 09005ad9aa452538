package import SystemPackage

/// DMA_MAP request: client memory the device may access. The reply has no payload.
///
/// Source: vfio-user protocol, DMA_MAP.
package struct DMAMap: WirePayload, BitwiseCopyable {
    /// Access rights and how the memory is reached.
    package struct Flags: OptionSet, Sendable, BitwiseCopyable {
        package let rawValue: UInt32
        package init(rawValue: UInt32) { self.rawValue = rawValue }

        /// The device may read.
        package static var read: Self { Self(rawValue: 1 << 0) }
        /// The device may write.
        package static var write: Self { Self(rawValue: 1 << 1) }
        /// The fd is to be mapped into the server.
        package static var mmap: Self { Self(rawValue: 1 << 2) }
        /// The fd is to be read and written, not mapped.
        package static var fileIO: Self { Self(rawValue: 1 << 3) }
        /// Every bit with a meaning.
        package static var known: Self { [.read, .write, .mmap, .fileIO] }
    }

    package static var byteCount: Int { 32 }

    /// Size of the struct, at least 32.
    package var argsz: UInt32
    package var flags: Flags
    /// Offset of the memory in the file of the fd, in bytes.
    package var offset: UInt64
    /// IOVA of the first byte.
    package var address: UInt64
    /// Length in bytes.
    package var size: UInt64

    package init(
        flags: Flags, offset: UInt64, address: UInt64, size: UInt64, argsz: UInt32 = Self.argumentByteCount
    ) {
        self.argsz = argsz
        self.flags = flags
        self.offset = offset
        self.address = address
        self.size = size
    }

    package init(decoding reader: inout Reader) throws(Errno) {
        try reader.require(Self.byteCount)
        argsz = reader.uint32()
        flags = Flags(rawValue: reader.uint32())
        offset = reader.uint64()
        address = reader.uint64()
        size = reader.uint64()
        try Self.check(argsz: argsz)
    }

    package func encode(into writer: inout Writer) throws(Errno) {
        try writer.require(Self.byteCount)
        writer.put(argsz)
        writer.put(flags.rawValue)
        writer.put(offset)
        writer.put(address)
        writer.put(size)
    }
}
