package import SystemPackage
internal import VFIOUserSystem

/// Where a new mapping goes.
package enum Placement: Sendable {
    /// At the client's address (`FIXED_IOVA`), a multiple of a power of two, in the allowed range.
    case fixed(UInt64, allowed: ClosedRange<UInt64> = 0...UInt64.max, alignment: UInt64 = 1)
    /// At the address that the device's own allocator gave; as `fixed`, with other errors.
    case chosen(UInt64, allowed: ClosedRange<UInt64> = 0...UInt64.max, alignment: UInt64 = 1)
    /// At the lowest free address in a window, a multiple of a power of two.
    case lowest(ClosedRange<UInt64>, alignment: UInt64 = 1)
    /// In the lowest free blocks in a window, as far into the first as the memory is into its file's.
    case lowestBlocks(ClosedRange<UInt64>)
    /// At the address of the memory in this process; without one, in the window.
    case serverAddress(otherwise: ClosedRange<UInt64>)
}

/// What an address is wanted for.
@safe
struct PlacedMemory {
    /// Bytes, not 0.
    let length: UInt64
    /// The first byte in this process, if it is mapped.
    var address: UnsafeMutableRawPointer?
    /// Where in its file it begins.
    let offset: UInt64
    /// The size of its file's blocks, a power of two.
    let block: UInt64
}

extension IOASTable {
    /// The IOVA for memory.
    ///
    /// Throws what `checkRange` does and `EEXIST` if a fixed range is taken; of a chosen range `EINVAL` and
    /// `EADDRINUSE`; `EADDRINUSE` if the memory's own address is taken, `ENOSPC` if the window is full.
    func place(_ memory: PlacedMemory, in space: IOAS, _ placement: Placement) throws(Errno) -> UInt64 {
        let length = memory.length
        switch placement {
        case .fixed(let iova, _, _):
            try checkRange(length, placement)
            if space.overlaps(iova, iova + (length - 1)) { throw .fileExists }
            return iova
        case .chosen(let iova, let allowed, let alignment):
            do throws(Errno) {
                try checkRange(length, .fixed(iova, allowed: allowed, alignment: alignment))
            } catch { throw .invalidArgument }
            if space.overlaps(iova, iova + (length - 1)) { throw .addressInUse }
            return iova
        case .lowest(let window, let alignment):
            guard let iova = space.lowestFree(length, in: window, alignment: alignment) else {
                throw .noSpace
            }
            return iova
        case .lowestBlocks(let window):
            // Whole blocks, so that what is left between mappings never looks like room for another.
            let lead = memory.offset & (memory.block - 1)
            let (sum, wraps) = lead.addingReportingOverflow(length)
            guard !wraps, let whole = sum.aligned(up: memory.block),
                let start = space.lowestFree(whole, in: window, alignment: memory.block)
            else { throw .noSpace }
            // Inside the blocks that were found.
            return start + lead
        case .serverAddress(let window):
            guard let address = unsafe memory.address else {
                return try place(memory, in: space, .lowestBlocks(window))
            }
            let iova = UInt64(UInt(bitPattern: address))
            // Memory of this process does not wrap round.
            if space.overlaps(iova, iova + (length - 1)) { throw .addressInUse }
            return iova
        }
    }

    /// Judges the range that a client asked for. Throws `EOVERFLOW` if it wraps round, `EINVAL` if it is
    /// not allowed.
    package func checkRange(_ length: UInt64, _ placement: Placement) throws(Errno) {
        guard case .fixed(let iova, let allowed, let alignment) = placement else { return }
        let (last, wraps) = iova.addingReportingOverflow(length &- 1)
        if wraps { throw .overflow }
        let isAllowed = allowed.contains(iova) && allowed.contains(last)
        if !isAllowed || iova & (alignment &- 1) != 0 { throw .invalidArgument }
    }

    /// Other memory for a mapping whose IOVA is to be the memory's own address, if that is taken: a second
    /// mmap of the same pages. Then `memory.address` is in it. nil if there is no need.
    ///
    /// `base` and `size` are the whole of the mmap, which its owner keeps meanwhile. Throws mremap's errno,
    /// `EADDRINUSE` if no address was found.
    func elsewhere(
        _ base: UnsafeMutableRawPointer?, _ size: UInt64, _ memory: inout PlacedMemory, in space: IOAS,
        _ placement: Placement
    ) throws(Errno) -> MemoryMapping? {
        guard case .serverAddress = placement, let base = unsafe base, let first = unsafe memory.address
        else {
            return nil
        }
        if unsafe !space.overlaps(first, memory.length) { return nil }
        let lead = unsafe first - base
        let other = try unsafe MemoryMapping(again: base, length: Int(size))
        if let start = unsafe other.base, unsafe !space.overlaps(start + lead, memory.length) {
            unsafe memory.address = start + lead
            return other
        }
        // The kernel's choices are near each other, and so may be what is in their way. Elsewhere a
        // process has little.
        for attempt in UInt64(1)...15 {
            let window = (attempt << 43)...(UInt64(1) << 47 - 1)
            guard let start = space.lowestFree(size, in: window, alignment: memory.block),
                let wish = unsafe UnsafeMutableRawPointer(bitPattern: UInt(start))
            else { continue }
            do throws(Errno) {
                let other = try unsafe MemoryMapping(again: base, length: Int(size), at: wish)
                unsafe memory.address = wish + lead
                return other
            } catch { continue }
        }
        throw .addressInUse
    }
}

extension IOAS {
    /// Whether any mapping has the address of a byte of this process's memory for an IOVA.
    fileprivate func overlaps(_ address: UnsafeMutableRawPointer, _ length: UInt64) -> Bool {
        let iova = UInt64(UInt(bitPattern: address))
        // Memory of this process does not wrap round.
        return overlaps(iova, iova + (length - 1))
    }
}
