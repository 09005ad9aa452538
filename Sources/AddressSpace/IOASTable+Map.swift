package import SystemPackage
package import VFIOUserSystem

/// What an IOAS_MAP asks for.
package struct IOASMap: Sendable {
    package var ioas: UInt32
    package var rights: AccessRights
    /// The client's own address of the memory, a cookie.
    package var userAddress: UInt64
    package var length: UInt64
    /// Into the file.
    package var offset: UInt64
    package var placement: Placement

    package init(
        ioas: UInt32, rights: AccessRights, userAddress: UInt64 = 0, length: UInt64, offset: UInt64 = 0,
        placement: Placement
    ) {
        self.ioas = ioas
        self.rights = rights
        self.userAddress = userAddress
        self.length = length
        self.offset = offset
        self.placement = placement
    }
}

extension IOASTable {
    /// Maps into an IOAS (IOAS_MAP); without a descriptor, memory that is reached by messages.
    ///
    /// Throws as `prepare` and `finish` do.
    package func map(_ request: IOASMap, _ descriptor: consuming OwnedFD?) throws(Errno) -> Mapping {
        try finish(prepare(request, descriptor), request)
    }

    /// The first half of `map`: everything that does not depend on an IOVA the server chooses. Nothing
    /// changes.
    ///
    /// Throws, in this order: `ENOENT` if there is no such IOAS; `EINVAL` for a length of 0 or no rights;
    /// `EOVERFLOW` if a range wraps round; of a fixed range `EINVAL` if it is not allowed, `EEXIST` if it
    /// is taken; `ENOSPC` at the limit; fstat's errno; `EPERM` for a file refused by the file policy;
    /// `EINVAL` if the file is known to be too short; mmap's errno.
    package func prepare(
        _ request: IOASMap, _ descriptor: consuming OwnedFD?
    ) throws(Errno) -> MemoryBacking {
        let space = try space(request.ioas)
        if request.length == 0 || request.rights.isEmpty { throw .invalidArgument }
        let (last, wraps) = request.offset.addingReportingOverflow(request.length - 1)
        if wraps { throw .overflow }
        if case .fixed(let iova, _, _) = request.placement {
            // Before there is memory to undo.
            try checkRange(request.length, request.placement)
            if space.overlaps(iova, iova + (request.length - 1)) { throw .fileExists }
        }
        if count >= limit { throw .noSpace }
        let status = try FileStatus.of(descriptor)
        settle()
        guard let descriptor, let status else {
            return try MemoryBacking(byMessages: request.length, offset: request.offset, request.rights)
        }
        try filePolicy.check(descriptor, status)
        if let size = status.size, last >= size { throw .invalidArgument }
        return try MemoryBacking(
            descriptor, status, mode: .mapped, offset: request.offset, length: request.length,
            request.rights, filePolicy, among: files)
    }

    /// The second half: gives the memory its place. `request` is the same but perhaps for the placement.
    ///
    /// Throws what `place` does, `ENOENT` if the IOAS has gone, `ENOSPC`, `ENOMEM`.
    package func finish(
        _ backing: consuming MemoryBacking, _ request: IOASMap
    ) throws(Errno) -> Mapping {
        let space = try space(request.ioas)
        var memory = backing.placed
        let whole = UInt64(backing.memory.length)
        if let other = try unsafe elsewhere(
            backing.memory.base, whole, &memory, in: space, request.placement)
        {
            backing.memory = other
        }
        let iova = try place(memory, in: space, request.placement)
        return try insert(backing, into: request.ioas, at: iova, userAddress: request.userAddress)
    }
}

extension MemoryBacking {
    fileprivate var placed: PlacedMemory {
        unsafe PlacedMemory(length: length, address: address, offset: offset, block: pageSize)
    }
}
