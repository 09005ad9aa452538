internal import Glibc
internal import SystemPackage

/// Page-granular zero-filled memory for messages, taken from the kernel only as it is touched.
///
/// Unsafe inside, because spans of it are handed out while the owner goes on using other parts: both users of
/// this type (the inbound and outbound streams) own disjoint ranges of bytes between their own offsets.
@safe final class MessageMemory {
    let base: UnsafeMutableRawPointer
    let capacity: Int

    init(capacity: Int) throws(Errno) {
        guard
            let base = unsafe mmap(
                nil, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0),
            unsafe base != MAP_FAILED
        else { throw Errno(rawValue: errno) }
        unsafe self.base = base
        self.capacity = capacity
    }

    deinit { unsafe munmap(base, capacity) }

    /// Bytes `offset..<offset + count`. The caller keeps the memory alive and gives the span its real lifetime.
    @unsafe @_lifetime(immortal)
    func bytes(at offset: Int, count: Int) -> RawSpan {
        precondition(offset >= 0 && count >= 0 && count <= capacity - offset)
        let span = unsafe RawSpan(_unsafeStart: base + offset, byteCount: count)
        return unsafe _overrideLifetime(span, copying: ())
    }

    /// The same for writing. Nobody else may use that range meanwhile.
    @unsafe @_lifetime(immortal)
    func mutableBytes(at offset: Int, count: Int) -> MutableRawSpan {
        precondition(offset >= 0 && count >= 0 && count <= capacity - offset)
        let span = unsafe MutableRawSpan(_unsafeStart: base + offset, byteCount: count)
        return unsafe _overrideLifetime(span, copying: ())
    }

    /// Moves bytes; the ranges may overlap.
    func move(from source: Int, to target: Int, count: Int) {
        precondition(source >= 0 && target >= 0 && count >= 0)
        precondition(count <= capacity - source && count <= capacity - target)
        unsafe memmove(base + target, base + source, count)
    }
}

extension MessageMemory {
    /// For a system call that fills or sends bytes from `offset` on.
    @inline(__always)
    func withPointer<Result>(at offset: Int, _ body: (UnsafeMutableRawPointer) -> Result) -> Result {
        precondition(offset >= 0 && offset <= capacity)
        return unsafe body(base + offset)
    }
}
