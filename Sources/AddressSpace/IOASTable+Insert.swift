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
        unsafe record.address = backing.address
        unsafe record.mappingBase = backing.memory.base
        unsafe record.mappingLength = UInt64(backing.memory.length)
        let bits = try newBits(space, backing.length, tracked: backing.mode != .message)
        guard let slot = pool.take() else { throw .noSpace }

        // Nothing fails from here on.
        backing.memory.release()
        if let descriptor = backing.descriptor.take(), let status = backing.status {
            let file = files.acquire(descriptor, status, mode: backing.mode)
            unsafe record.descriptor = file.descriptor.number
            unsafe record.file = Unmanaged.passRetained(file)
        }
        return unsafe insert(record, bits, into: space, slot)
    }

    /// Makes a mapping of the same memory as part of another, with the same rights or fewer (IOAS_COPY).
    ///
    /// The file and the mmap are shared. Throws `ENOENT` if there is no such address space or the source is
    /// not within one mapping, `EINVAL` for a length of 0 or no rights, `EOVERFLOW` if a range wraps round,
    /// `EPERM` for rights the source does not have, and as `insert` does.
    package func copy(
        from source: UInt32, _ sourceIOVA: UInt64, _ length: UInt64, to target: UInt32,
        _ placement: Placement,
        _ rights: AccessRights
    ) throws(Errno) -> Mapping {
        let sourceSpace = try space(source)
        let space = try space(target)
        if length == 0 || rights.isEmpty { throw .invalidArgument }
        let (sourceLast, wraps) = sourceIOVA.addingReportingOverflow(length - 1)
        if wraps { throw .overflow }
        guard let old = sourceSpace.mapping(at: sourceIOVA), old.last >= sourceLast else {
            throw .noSuchFileOrDirectory
        }
        if !old.rights.isSuperset(of: rights) { throw .notPermitted }
        if count >= limit { throw .noSpace }

        let delta = sourceIOVA - old.iova
        var record = unsafe old.record.pointee
        // Within the old mapping's memory, since the range is within the old mapping.
        var address = unsafe record.address.map { unsafe $0 + Int(truncatingIfNeeded: delta) }
        let other = try unsafe elsewhere(
            record.mappingBase, record.mappingLength, &address, length, in: space, placement)
        unsafe record.iova = try unsafe place(length, address, in: space, placement)
        unsafe record.length = length
        unsafe record.protection = UInt32(rights.rawValue)
        unsafe record.denied = IOASTable.denied(rights, checksRead: true)
        unsafe record.address = address
        unsafe record.userAddress &+= record.userAddress == 0 ? 0 : delta
        unsafe record.fileOffset &+= delta
        unsafe record.dirty = nil
        let bits = try newBits(space, length, tracked: old.mode != .message)
        guard let slot = pool.take() else { throw .noSpace }

        // Nothing fails from here on.
        if let file = unsafe record.file {
            unsafe file.retain().takeUnretainedValue().users += 1
        }
        if let other {
            unsafe record.mappingBase = unsafe other.base
            unsafe record.sharedMemory = nil
            other.release()
        } else if let shared = unsafe record.sharedMemory {
            _ = unsafe shared.retain()
        } else if unsafe record.mappingBase != nil {
            // From now on both own the mmap, which was the old one's alone.
            let memory = unsafe MemoryMapping(adopting: record.mappingBase, length: Int(record.mappingLength))
            let shared = unsafe Unmanaged.passRetained(SharedMemory(memory))
            unsafe record.sharedMemory = shared.retain()
            unsafe old.record.pointee.sharedMemory = shared
        }
        return unsafe insert(record, bits, into: space, slot)
    }

    /// Rights a translation is refused.
    private static func denied(_ rights: AccessRights, checksRead: Bool) -> UInt8 {
        let checked: AccessRights = checksRead ? [.read, .write] : .write
        return checked.subtracting(rights).rawValue
    }

    /// The bits a new mapping needs from the start.
    private func newBits(_ space: IOAS, _ length: UInt64, tracked: Bool) throws(Errno) -> DirtyBitmap? {
        guard loggingPageSize != 0, tracked, space === attached else { return nil }
        return try DirtyBitmap(words: DirtyBitmap.words(length, pageSize: loggingPageSize))
    }

    /// Publishes a record that owns what it refers to.
    private func insert(
        _ record: MappingRecord, _ bits: consuming DirtyBitmap?, into space: IOAS, _ slot: UInt32
    ) -> Mapping {
        var record = unsafe record
        unsafe record.ioas = space.id
        if space !== attached { unsafe record.denied |= AccessRights.hidden }
        if let bits { unsafe record.dirty = bits.release() }
        unsafe pool.fill(slot, record)
        space.insert(unsafe record.iova, slot)
        if space === attached { publish() }
        return Mapping(pool, slot)
    }
}
