package import SystemPackage
internal import VFIOUserSystem

/// Making mappings.
extension IOASTable {
    /// Makes a mapping of memory that is ready, in an address space, from `iova` on.
    ///
    /// With `checksRead` translations to read need the right to; those to write always do. Throws `ENOENT` if
    /// there is no such address space, `EOVERFLOW` if the range wraps round, `EEXIST` if some of it is
    /// mapped, `ENOSPC` at the limit, `ENOMEM`.
    package func insert(
        _ backing: consuming MemoryBacking, into id: UInt32, at iova: UInt64, userAddress: UInt64 = 0,
        checksRead: Bool = true
    ) throws(Errno) -> Mapping {
        let space = try space(id)
        let (last, wraps) = iova.addingReportingOverflow(backing.length - 1)
        if wraps { throw .overflow }
        if space.overlaps(iova, last) { throw .fileExists }
        if count >= limit { throw .noSpace }

        var record = unsafe MappingRecord()
        unsafe record.iova = iova
        unsafe record.length = backing.length
        unsafe record.pageSize = backing.pageSize
        unsafe record.protection = UInt32(backing.rights.rawValue)
        unsafe record.mode = backing.mode
        unsafe record.userAddress = userAddress
        unsafe record.fileOffset = backing.offset
        unsafe record.denied = IOASTable.denied(backing.rights, checksRead: checksRead)
        unsafe record.care = backing.care
        unsafe record.address = backing.address
        unsafe record.mappingBase = backing.memory.base
        unsafe record.mappingLength = UInt64(backing.memory.length)
        let bits = try newBits(space, backing.length, tracked: backing.mode != .message)
        guard let slot = pool.take() else { throw .noSpace }

        // Nothing fails from here on.
        backing.memory.release()
        if let descriptor = backing.descriptor.take(), let status = backing.status {
            // What is copied by pread and pwrite needs a descriptor that may.
            let isGuarded = backing.care.contains(.guarded)
            let file = files.acquire(descriptor, status, mode: isGuarded ? .fileIO : backing.mode)
            unsafe file.noteEnd(
                of: record.mappingBase, backing.offset &- UInt64(backing.slack), record.mappingLength,
                backing.rights)
            unsafe record.descriptor = file.descriptor.number
            unsafe record.file = Unmanaged.passRetained(file)
        }
        return unsafe insert(record, bits, into: space, slot)
    }

    /// Rights a translation is refused.
    static func denied(_ rights: AccessRights, checksRead: Bool) -> UInt8 {
        let checked: AccessRights = checksRead ? [.read, .write] : .write
        return checked.subtracting(rights).rawValue
    }

    /// The bits a new mapping needs from the start.
    func newBits(_ space: IOAS, _ length: UInt64, tracked: Bool) throws(Errno) -> DirtyBitmap? {
        guard loggingPageSize != 0, tracked, space === attached else { return nil }
        return try DirtyBitmap(words: DirtyBitmap.words(length, pageSize: loggingPageSize))
    }

    /// Publishes a record that owns what it refers to.
    func insert(
        _ record: MappingRecord, _ bits: consuming DirtyBitmap?, into space: IOAS, _ slot: UInt32
    ) -> Mapping {
        var record = unsafe record
        unsafe record.ioas = space.id
        if space !== attached { unsafe record.denied |= AccessRights.hidden }
        unsafe record.notes = []
        if unsafe record.care.contains(.synchronized) { unsafe state.pointee.synchronizedCount += 1 }
        if let bits { unsafe record.dirty = bits.release() }
        unsafe pool.fill(slot, record)
        space.insert(unsafe record.iova, slot)
        if space === attached { publish() }
        return Mapping(pool, slot)
    }
}
