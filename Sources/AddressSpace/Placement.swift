internal import SystemPackage
internal import VFIOUserSystem

/// Where a new mapping goes.
package enum Placement: Sendable {
    /// At the client's address (`FIXED_IOVA`), which must be in one of the allowed ranges.
    case fixed(UInt64, allowed: ClosedRange<UInt64> = 0...UInt64.max)
    /// At the lowest free address in a window, a multiple of a power of two.
    case lowest(ClosedRange<UInt64>, alignment: UInt64 = 1)
    /// At the address of the memory in this process; without one, in the window.
    case serverAddress(otherwise: ClosedRange<UInt64>)
}

extension IOASTable {
    /// The IOVA for `length` bytes, not 0.
    ///
    /// Throws `EOVERFLOW` if a fixed range wraps round, `EINVAL` if it is not allowed, `EEXIST` if it is
    /// taken, `EADDRINUSE` if the memory's own address is, `ENOSPC` if the window is full.
    func place(
        _ length: UInt64, _ address: UnsafeMutableRawPointer?, in space: IOAS, _ placement: Placement
    ) throws(Errno) -> UInt64 {
        switch placement {
        case .fixed(let iova, let allowed):
            let (last, wraps) = iova.addingReportingOverflow(length - 1)
            if wraps { throw .overflow }
            if !allowed.contains(iova) || !allowed.contains(last) { throw .invalidArgument }
            if space.overlaps(iova, last) { throw .fileExists }
            return iova
        case .lowest(let window, let alignment):
            guard let iova = space.lowestFree(length, in: window, alignment: alignment) else {
                throw .noSpace
            }
            return iova
        case .serverAddress(let window):
            guard let address = unsafe address else {
                return try unsafe place(length, nil, in: space, .lowest(window))
            }
            let iova = UInt64(UInt(bitPattern: address))
            // Memory of this process does not wrap round.
            if space.overlaps(iova, iova + (length - 1)) { throw .addressInUse }
            return iova
        }
    }

    /// Other memory for a mapping whose IOVA is to be the memory's own address, if that is taken: a second
    /// mmap of the same pages. Then `address` is in it. nil if there is no need. Throws mremap's errno,
    /// `EADDRINUSE`.
    func elsewhere(
        _ base: UnsafeMutableRawPointer?, _ size: UInt64, _ address: inout UnsafeMutableRawPointer?,
        _ length: UInt64, in space: IOAS, _ placement: Placement, tries: Int = 8
    ) throws(Errno) -> MemoryMapping? {
        guard case .serverAddress = placement, let base = unsafe base, let first = unsafe address else {
            return nil
        }
        let iova = UInt64(UInt(bitPattern: first))
        if !space.overlaps(iova, iova + (length - 1)) { return nil }
        if tries == 0 { throw .addressInUse }
        // The whole of an mmap, which its owner keeps meanwhile.
        let memory = try unsafe MemoryMapping(again: base, length: Int(size))
        guard let newBase = unsafe memory.base else { throw .addressInUse }
        unsafe address = newBase + (first - base)
        // Kept mapped meanwhile, so that the next one is yet elsewhere.
        let better = try unsafe elsewhere(
            newBase, size, &address, length, in: space, placement, tries: tries - 1)
        if let better { return better }
        return memory
    }
}
