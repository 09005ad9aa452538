package import SystemPackage
package import VFIOUserSystem

/// An IOAS_MAP request.
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
        ioas: UInt32, rights: AccessRights, userAddress: UInt64, length: UInt64, offset: UInt64,
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
    /// Throws `ENOENT` if there is no such IOAS; `EINVAL` for a length of 0 or no rights; `EOVERFLOW` if a
    /// range wraps round; what `Placement` says; `ENOSPC` at the limit; `EINVAL` if the file is known to be
    /// too short; mmap's errno.
    package func map(_ request: IOASMap, _ descriptor: consuming OwnedFD?) throws(Errno) -> Mapping {
        let space = try space(request.ioas)
        if request.length == 0 || request.rights.isEmpty { throw .invalidArgument }
        let (last, wraps) = request.offset.addingReportingOverflow(request.length - 1)
        if wraps { throw .overflow }
        if case .fixed = request.placement {
            // Before there is memory to undo.
            _ = try unsafe place(request.length, nil, in: space, request.placement)
        }
        if count >= limit { throw .noSpace }
        var backing: MemoryBacking
        let status = try FileStatus.of(descriptor)
        if let descriptor, let status {
            if let size = status.size, last >= size { throw .invalidArgument }
            backing = try MemoryBacking(
                descriptor, status, mode: .mapped, offset: request.offset, length: request.length,
                request.rights)
        } else {
            backing = try MemoryBacking(
                byMessages: request.length, offset: request.offset, request.rights)
        }
        try backing.move(for: request.placement, in: space, self)
        let iova = try unsafe place(request.length, backing.address, in: space, request.placement)
        return try insert(backing, into: request.ioas, at: iova, userAddress: request.userAddress)
    }
}

extension MemoryBacking {
    /// Goes elsewhere if the memory's address is to be the IOVA and is taken.
    fileprivate mutating func move(
        for placement: Placement, in space: IOAS, _ table: IOASTable
    ) throws(Errno) {
        // The slack stays what it was, since whole mmaps are repeated.
        var first = unsafe address
        let size = UInt64(memory.length)
        if let other = try unsafe table.elsewhere(memory.base, size, &first, length, in: space, placement) {
            memory = other
        }
    }
}
