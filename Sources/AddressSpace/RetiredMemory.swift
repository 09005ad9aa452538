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

    var isEmpty: Bool { unsafe base == nil }

    /// Takes over another mapping: what was there is unmapped unless the two touch.
    func add(_ memory: consuming MemoryMapping) {
        var all = unsafe MemoryMapping(adopting: base, length: length)
        unsafe base = nil
        all.replace(with: memory)
        unsafe base = all.base
        length = all.length
        all.release()
    }

    func unmap() {
        let all = unsafe MemoryMapping(adopting: base, length: length)
        unsafe base = nil
        length = 0
        _ = consume all
    }

    deinit { unmap() }
}
