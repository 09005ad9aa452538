/// Where a range of client memory begins in this process.
@safe
struct DirectRange {
    /// The first byte; `nil` if the bytes can be had by copies only.
    let address: UnsafeMutableRawPointer?
    /// Bytes that lie together from there on, or that copies can reach; 0: the device may not use the memory so.
    let count: Int
}

/// The windows of client memory used last, the latest first: a command's data is nearly always in one of them, and
/// finding it takes a comparison.
///
/// Unsafe inside: an array of ``count`` windows, made and freed with the controller. The addresses in it are good
/// until client memory changes, when ``NVMeController/memoryChanged()`` empties it.
extension NVMeController {
    /// Windows that are kept.
    static let windowCount = 8

    /// The first bytes of `count` (at least 1) at `address`, as many as lie together.
    @inline(__always)
    func reach(_ address: UInt64, _ count: Int, writing: Bool) -> DirectRange {
        let right = writing ? MemoryWindow.writing : MemoryWindow.reading
        let offset = unsafe address &- windows.pointee.first
        guard unsafe offset < windows.pointee.count, unsafe windows.pointee.rights & right != 0 else {
            return reachElsewhere(address, count, right)
        }
        return unsafe range(windows.pointee, offset, count)
    }

    @inline(__always)
    private func range(_ window: MemoryWindow, _ offset: UInt64, _ count: Int) -> DirectRange {
        // The offset is inside; what is left is at least 1 and counts no more than was asked for.
        let available = Int(
            truncatingIfNeeded: min(UInt64(truncatingIfNeeded: count), window.count &- offset))
        guard let base = unsafe window.base else { return unsafe DirectRange(address: nil, count: available) }
        return unsafe DirectRange(address: base + Int(truncatingIfNeeded: offset), count: available)
    }

    @inline(never)
    private func reachElsewhere(_ address: UInt64, _ count: Int, _ right: UInt8) -> DirectRange {
        var place = 0
        while place < Self.windowCount {
            let window = unsafe windows[place]
            if address &- window.first < window.count { break }
            place += 1
        }
        let window: MemoryWindow
        if place < Self.windowCount {
            window = unsafe windows[place]
        } else {
            window = unsafe host.window(at: address)
            guard address &- window.first < window.count else {
                return unsafe DirectRange(address: nil, count: 0)
            }
            place = Self.windowCount - 1
        }
        while place > 0 {
            unsafe windows[place] = windows[place - 1]
            place -= 1
        }
        unsafe windows[0] = window
        if unsafe window.base == nil { unsafe state.pointee.usesCopies = true }
        guard window.rights & right != 0 else { return unsafe DirectRange(address: nil, count: 0) }
        return range(window, address &- window.first, count)
    }

    /// All of a range by address, at a multiple of `alignment`; `nil` if it does not lie together or cannot be reached so.
    func reachAll(_ address: UInt64, _ count: Int, writing: Bool, alignment: Int) -> UnsafeMutableRawPointer?
    {
        let range = reach(address, count, writing: writing)
        guard range.count == count, let base = unsafe range.address,
            UInt(bitPattern: base) % UInt(alignment) == 0
        else { return nil }
        return unsafe base
    }

    /// Tells the host what was written by its direct address, if it wants to know.
    @inline(__always)
    func noteWritten(_ address: UInt64, _ count: Int) {
        if isTracked { unsafe host.wrote(address, count) }
    }
}
