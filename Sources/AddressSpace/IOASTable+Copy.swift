package import SystemPackage
internal import VFIOUserSystem

/// Part of a mapping's memory.
package struct MappedPart {
    let mapping: Mapping
    /// Bytes of the mapping before the part.
    let delta: UInt64

    /// The first byte in this process; nil unless the mapping's mode is `mapped`.
    @unsafe
    package var address: UnsafeMutableRawPointer? {
        // Within the mapping's memory, since the part is within the mapping.
        unsafe mapping.record.pointee.address.map { unsafe $0 + Int(truncatingIfNeeded: delta) }
    }
    /// Where in its file the part begins.
    package var fileOffset: UInt64 { mapping.fileOffset &+ delta }
    /// The kept descriptor of the file; -1 without.
    package var descriptorNumber: CInt { unsafe mapping.record.pointee.descriptor }
}

extension IOASTable {
    /// Judges an IOAS_COPY as far as that needs no IOVA of the server's choice, and finds its source.
    ///
    /// Throws, in this order: `ENOENT` if there is no such address space; `EINVAL` for a length of 0 or no
    /// rights; `EOVERFLOW` if a range wraps round; `EINVAL` for a fixed range that is not allowed;
    /// `ENOENT` if the source is not within one mapping; `EPERM` for rights the source does not have;
    /// `EEXIST` for a fixed range that is taken; `ENOSPC`.
    package func source(
        of source: UInt32, _ sourceIOVA: UInt64, _ length: UInt64, to target: UInt32,
        _ placement: Placement, _ rights: AccessRights
    ) throws(Errno) -> MappedPart {
        let sourceSpace = try space(source)
        let space = try space(target)
        if length == 0 || rights.isEmpty { throw .invalidArgument }
        let (sourceLast, wraps) = sourceIOVA.addingReportingOverflow(length - 1)
        if wraps { throw .overflow }
        try checkRange(length, placement)
        guard let old = sourceSpace.mapping(at: sourceIOVA), old.last >= sourceLast else {
            throw .noSuchFileOrDirectory
        }
        if !old.rights.isSuperset(of: rights) { throw .notPermitted }
        if case .fixed(let iova, _, _) = placement, space.overlaps(iova, iova + (length - 1)) {
            throw .fileExists
        }
        if count >= limit { throw .noSpace }
        return MappedPart(mapping: old, delta: sourceIOVA - old.iova)
    }

    /// Makes a mapping of the same memory as part of another, with the same rights or fewer (IOAS_COPY).
    ///
    /// The file and the mmap are shared. Throws as `source` and `place` do, `ENOMEM`.
    package func copy(
        from source: UInt32, _ sourceIOVA: UInt64, _ length: UInt64, to target: UInt32,
        _ placement: Placement, _ rights: AccessRights
    ) throws(Errno) -> Mapping {
        let part = try self.source(of: source, sourceIOVA, length, to: target, placement, rights)
        let old = part.mapping
        let space = try space(target)
        var record = unsafe old.record.pointee
        var memory = unsafe PlacedMemory(
            length: length, address: part.address, offset: part.fileOffset, block: record.pageSize)
        let other = try unsafe elsewhere(
            record.mappingBase, record.mappingLength, &memory, in: space, placement)
        unsafe record.iova = try place(memory, in: space, placement)
        unsafe record.length = length
        unsafe record.protection = UInt32(rights.rawValue)
        unsafe record.denied = IOASTable.denied(rights, checksRead: true)
        unsafe record.address = memory.address
        unsafe record.userAddress &+= record.userAddress == 0 ? 0 : part.delta
        unsafe record.fileOffset &+= part.delta
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
}
