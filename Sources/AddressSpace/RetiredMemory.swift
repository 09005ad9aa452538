internal import VFIOUserSystem

/// Memory of mappings that have gone, not unmapped yet: one range, since those that go one after the other often lie side
/// by side, and one call then unmaps them.
///
/// Unsafe inside: the range is owned as by a `MemoryMapping`, which it is while it changes. As a stored property that would
/// be checked for exclusive access.
@safe
final class RetiredMemory {
    private var base: UnsafeMutableRawPointer?
    private var length = 0
    /// Where the mapping was that came last.
    private var latest: (start: UInt, end: UInt) = (0, 0)
    /// Whether that one lay beside the one before it.
    private var isRun = false

    var isEmpty: Bool { unsafe base == nil }

    /// Takes over another mapping: what was there is unmapped unless the two touch.
    func add(_ memory: consuming MemoryMapping) {
        let start = unsafe UInt(bitPattern: memory.base)
        let end = start &+ UInt(bitPattern: memory.length)
        isRun = start == latest.end || end == latest.start
        latest = (start, end)
        var all = unsafe MemoryMapping(adopting: base, length: length)
        unsafe base = nil
        all.replace(with: memory)
        unsafe base = all.base
        length = all.length
        all.release()
    }

    /// Unmaps what is there; but if neighbours go one after the other, and more of them may be about to, not before there
    /// are more than `tolerated` bytes.
    func unmap(tolerated: Int = 0) {
        if isRun, length <= tolerated { return }
        let all = unsafe MemoryMapping(adopting: base, length: length)
        unsafe base = nil
        length = 0
        _ = consume all
    }

    deinit { unmap() }
}
