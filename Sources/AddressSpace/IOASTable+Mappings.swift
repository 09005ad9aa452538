package import SystemPackage
internal import VFIOUserSystem

/// Finding mappings and taking them away.
extension IOASTable {
    /// Mappings there are, over all address spaces.
    package var count: Int { pool.count }

    /// Files that mappings keep open.
    package var fileCount: Int { files.count }

    /// The first mapping of an address space; nil if it is empty or there is no such.
    package func firstMapping(in id: UInt32) -> Mapping? { (try? space(id))?.first }

    /// The first mapping that starts at or above an IOVA.
    package func firstMapping(in id: UInt32, from iova: UInt64) -> Mapping? {
        (try? space(id))?.first(from: iova)
    }

    /// The mapping after the one that starts at `iova`, whether or not that still exists.
    package func nextMapping(in id: UInt32, after iova: UInt64) -> Mapping? {
        guard let start = iova.successor else { return nil }
        return (try? space(id))?.first(from: start)
    }

    /// The mapping of exactly this range. Throws `ENOENT`.
    package func mapping(in id: UInt32, exactly iova: UInt64, _ length: UInt64) throws(Errno) -> Mapping {
        guard let mapping = try space(id).mapping(exactly: iova, length) else {
            throw .noSuchFileOrDirectory
        }
        return mapping
    }

    /// The number and the bytes of the mappings that lie in a range (IOAS_UNMAP).
    ///
    /// Throws `EINVAL` for a length of 0, `EOVERFLOW` if the range wraps round, `ENOENT` if there is no such
    /// address space, no mapping in the range, or one only partly.
    package func mappings(
        in id: UInt32, within iova: UInt64, _ length: UInt64
    ) throws(Errno) -> (count: Int, bytes: UInt64) {
        let space = try space(id)
        if length == 0 { throw .invalidArgument }
        let (last, wraps) = iova.addingReportingOverflow(length - 1)
        if wraps { throw .overflow }
        if iova > 0, let before = space.floor(iova - 1), before.last >= iova {
            throw .noSuchFileOrDirectory
        }
        var count = 0
        var bytes: UInt64 = 0
        var next = space.first(from: iova)
        while let mapping = next, mapping.iova <= last {
            if mapping.last > last { throw .noSuchFileOrDirectory }
            count += 1
            bytes = bytes.addingSaturating(mapping.length)
            next = nextMapping(in: id, after: mapping.iova)
        }
        if count == 0 { throw .noSuchFileOrDirectory }
        return (count, bytes)
    }

    /// The number and the bytes of all mappings of an address space. Throws `ENOENT` if there is no such.
    package func allMappings(in id: UInt32) throws(Errno) -> (count: Int, bytes: UInt64) {
        let space = try space(id)
        var bytes: UInt64 = 0
        unsafe forEach(in: space) { record in bytes = unsafe bytes.addingSaturating(record.pointee.length) }
        return (space.count, bytes)
    }

    /// Throws `ENOENT` if there is no address space of an id.
    package func require(_ id: UInt32) throws(Errno) { _ = try space(id) }

    /// The ids of all address spaces, in ascending order.
    package var ids: [UInt32] { spaces.map(\.id) }

    /// The mapping of the attached address space with this range, if there is one.
    package func attachedMapping(exactly iova: UInt64, _ length: UInt64) -> Mapping? {
        attached?.mapping(exactly: iova, length)
    }

    /// Ends a mapping: its memory is unmapped and its file closed, unless others use them. A mapping that
    /// is gone already stays gone.
    ///
    /// The server has let the device unregister it if it is in the attached address space.
    package func remove(_ mapping: Mapping) {
        retire(mapping)
        settle()
    }

    /// Ends a mapping, but for the mmap, which ``settle()`` undoes: there one call is enough for many that lie side by
    /// side, and nobody waits for it.
    package func retire(_ mapping: Mapping) {
        guard mapping.pool === pool, mapping.isLive, let space = try? space(mapping.ioas) else { return }
        space.remove(mapping.iova)
        if space === attached { publish() }
        retire(release(mapping.slot))
    }

    private func retire(_ memory: consuming MemoryMapping) {
        if !memory.isEmpty { retired.add(memory) }
    }

    /// Unmaps what ``retire(_:)`` left: to be called when the client has got its replies. What maps a file or ends mappings
    /// otherwise calls it, too.
    ///
    /// Of neighbours that go one after the other up to `tolerated` bytes are left. Returns whether something is.
    @discardableResult
    package func settle(tolerated: Int = 0) -> Bool {
        if !retired.isEmpty { retired.unmap(tolerated: tolerated) }
        return !retired.isEmpty
    }

    /// Ends every mapping of an address space, faster than one by one. Throws `ENOENT` if there is no such.
    package func removeAll(in id: UInt32) throws(Errno) { dropMappings(of: try space(id)) }

    func dropMappings(of space: IOAS) {
        // Mappings made one after the other lie side by side in this process: one call unmaps many.
        var place = unsafe space.tree.first
        while let here = unsafe place {
            retire(release(unsafe here.slot))
            unsafe place = here.next
        }
        space.removeAll()
        if space === attached { publish() }
        settle()
    }

    /// Gives back all that a slot's record owns, and the slot. The mmap is handed to the caller if it was the
    /// record's.
    private func release(_ slot: UInt32) -> MemoryMapping {
        unsafe untrack(pool.record(slot))
        let record = unsafe pool.record(slot).pointee
        pool.remove(slot)
        if unsafe record.care.contains(.synchronized) { unsafe state.pointee.synchronizedCount -= 1 }
        // The record's counts and its mmap were its own, and nothing else has a copy.
        if let file = unsafe record.file {
            let kept = unsafe file.takeUnretainedValue()
            unsafe kept.forgetEnd(of: record.mappingBase, record.mappingLength)
            files.release(kept)
            unsafe file.release()
        }
        guard let shared = unsafe record.sharedMemory else {
            return unsafe MemoryMapping(adopting: record.mappingBase, length: Int(record.mappingLength))
        }
        unsafe shared.release()
        return MemoryMapping()
    }
}

extension UInt64 {
    /// The sum, or the greatest number: mappings of one address space can have 2^64 bytes in all.
    func addingSaturating(_ other: UInt64) -> UInt64 {
        let (sum, overflow) = addingReportingOverflow(other)
        return overflow ? .max : sum
    }
}
