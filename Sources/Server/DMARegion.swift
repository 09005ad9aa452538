package import VFIOUserAddressSpace

/// A range of client memory that the device can see, at I/O virtual addresses (IOVAs).
public struct DMARegion {
    package let mapping: Mapping

    init(_ mapping: Mapping) { self.mapping = mapping }

    /// The first IOVA.
    public var address: UInt64 { mapping.iova }
    /// Bytes; at least 1.
    public var size: UInt64 { mapping.length }
    /// Whether the client lets the device read it.
    public var isReadable: Bool { mapping.rights.contains(.read) }
    /// Whether the client lets the device write it.
    public var isWritable: Bool { mapping.rights.contains(.write) }
    /// The client's own address of the memory (IOAS_MAP): what it said, never used; 0 in legacy mode.
    public var userAddress: UInt64 { mapping.userAddress }
    /// The id of the address space it is in.
    public var addressSpace: UInt32 { mapping.ioas }
    /// Whether it is mapped into this process; otherwise accesses go by file or by message.
    public var isMapped: Bool { mapping.mode == .mapped }
}
