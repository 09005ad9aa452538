package import VFIOUserSystem

/// A handle on one mapping, good for as long as the mapping lives and recognizably dead afterwards.
@safe
package struct Mapping {
    let pool: MappingPool
    let slot: UInt32
    private let generation: UInt32

    init(_ pool: MappingPool, _ slot: UInt32) {
        self.pool = pool
        self.slot = slot
        // Slots come from the pool's own tree and lists.
        generation = unsafe pool.record(slot).pointee.generation
    }

    /// The record, which the pool keeps readable.
    var record: UnsafeMutablePointer<MappingRecord> { unsafe pool.record(slot) }

    /// Whether the mapping is still there (and its IOAS was not detached since).
    package var isLive: Bool {
        unsafe record.pointee.length != 0 && record.pointee.generation == generation
    }

    /// The C interface's `vfu_dma_info_t` of the mapping: stays where it is for the life of the mapping.
    @unsafe
    package var info: UnsafeMutableRawPointer { unsafe UnsafeMutableRawPointer(record) }

    /// The first IOVA.
    package var iova: UInt64 { unsafe record.pointee.iova }
    /// Bytes.
    package var length: UInt64 { unsafe record.pointee.length }
    /// The last IOVA.
    package var last: UInt64 { unsafe record.pointee.last }
    /// The first byte in this process; nil unless the access mode is `mapped`.
    @unsafe
    package var address: UnsafeMutableRawPointer? { unsafe record.pointee.address }
    /// The page size of the C interface's info.
    package var pageSize: UInt64 { unsafe record.pointee.pageSize }
    /// What the client allows.
    package var rights: AccessRights { unsafe record.pointee.rights }
    /// How its bytes are reached.
    package var mode: AccessMode { unsafe record.pointee.mode }
    /// The client's own address of the memory (IOAS_MAP), a cookie; 0 of legacy mappings.
    package var userAddress: UInt64 { unsafe record.pointee.userAddress }
    /// Where in its file the mapping starts.
    package var fileOffset: UInt64 { unsafe record.pointee.fileOffset }
    /// The file behind it, if any.
    package var fileIdentity: FileIdentity? {
        // Counted for the record for as long as it lives.
        unsafe record.pointee.file?.takeUnretainedValue().identity
    }
    /// The id of the IOAS it is in.
    package var ioas: UInt32 { unsafe record.pointee.ioas }

    /// Whether the device has been told of it, and not of its end. A mapping begins as not.
    package var isRegistered: Bool {
        get { unsafe record.pointee.notes.contains(.registered) }
        nonmutating set { note(.registered, newValue) }
    }

    /// Whether its IOVA came from the device's own allocator. A mapping begins as not.
    package var hasAllocatedIOVA: Bool {
        get { unsafe record.pointee.notes.contains(.allocated) }
        nonmutating set { note(.allocated, newValue) }
    }

    private func note(_ note: MappingNotes, _ value: Bool) {
        // A dead mapping's record may be another's by now.
        if !isLive { return }
        if value {
            unsafe record.pointee.notes.insert(note)
        } else {
            unsafe record.pointee.notes.remove(note)
        }
    }
}

extension Mapping: Equatable {
    package static func == (one: Mapping, other: Mapping) -> Bool {
        one.pool === other.pool && one.slot == other.slot && one.generation == other.generation
    }
}
