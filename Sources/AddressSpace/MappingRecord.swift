/// The one record of a mapping, at the same address for as long as the mapping lives.
///
/// The first 56 bytes are the C interface's `vfu_dma_info_t`, so that a pointer to a record is what its
/// register and unregister callbacks are given; the generation lies in that struct's padding. The first
/// 64 bytes hold all that translation reads: one cache line. An unused record is all zeros but for its
/// generation and its link.
///
/// Ownership of what it refers to passes through `MappingPool.insert` and `remove` only; a copy of a
/// record owns nothing.
@unsafe
@usableFromInline
package struct MappingRecord {
    /// The first IOVA.
    @usableFromInline package internal(set) var iova: UInt64 = 0
    /// Bytes; 0 of an unused record, so that no address is inside it.
    @usableFromInline package internal(set) var length: UInt64 = 0
    /// The first byte in this process, nil unless mapped.
    @usableFromInline package internal(set) var address: UnsafeMutableRawPointer?
    /// The whole range that was mapped, slack at both ends included.
    package internal(set) var mappingBase: UnsafeMutableRawPointer?
    package internal(set) var mappingLength: UInt64 = 0
    /// The system's page size, or with a file the larger of that and the file's block size.
    package internal(set) var pageSize: UInt64 = 0
    /// The client's rights, as PROT_ bits.
    package internal(set) var protection: UInt32 = 0
    /// Differs between the uses of a slot; what a scatter-gather entry must match.
    @usableFromInline package internal(set) var generation: UInt32 = 0

    // The C struct ends here.

    /// Rights a translation may not ask for; with `AccessRights.hidden` it may not find the mapping.
    @usableFromInline package internal(set) var denied: UInt8 = 0
    package internal(set) var mode: AccessMode = .message
    /// What copying has to mind.
    @usableFromInline package internal(set) var care: AccessCare = []
    /// What the server has noted.
    var notes: MappingNotes = []
    /// The descriptor of the file, which belongs to `file`; -1 without.
    var descriptor: CInt = -1

    /// One bit per page of the logging page size, nil unless tracked. Belongs to the record.
    var dirty: DirtyWords?
    /// The client's own address of the memory: a cookie.
    package internal(set) var userAddress: UInt64 = 0
    /// Where in the file the first byte is.
    @usableFromInline package internal(set) var fileOffset: UInt64 = 0
    /// The file, counted once for this record.
    var file: Unmanaged<SharedFile>?
    /// The owner of the mmap if mappings share it, counted once for this record; nil: the record owns it.
    var sharedMemory: Unmanaged<SharedMemory>?
    /// The IOAS it is in.
    package internal(set) var ioas: UInt32 = 0
    /// Of an unused record, the next unused slot plus one.
    var nextFree: UInt32 = 0
    private var reserved: (UInt64, UInt64) = (0, 0)

    init() {}
}

extension MappingRecord {
    /// The last IOVA. Only of a record in use: its range never wraps.
    @inlinable
    var last: UInt64 { unsafe iova &+ (length &- 1) }

    var rights: AccessRights { AccessRights(rawValue: UInt8(truncatingIfNeeded: unsafe protection) & 3) }
}
