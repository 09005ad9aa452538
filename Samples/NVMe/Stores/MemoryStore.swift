internal import Glibc
public import NVMeController
public import SystemPackage

/// A store in this process's memory. It starts as zeros and is gone with the process.
///
/// Unsafe inside: the mapping is `byteCount` bytes for as long as the store lives, and requests lie within.
@safe
public final class MemoryStore: BackingStore {
    private let memory: UnsafeMutableRawBufferPointer
    /// Whether it cannot be written to.
    public let isReadOnly: Bool
    /// Whether what is written may be lost until a flush.
    public var hasVolatileCache: Bool { false }
    /// Bytes.
    public var byteCount: UInt64 { unsafe UInt64(memory.count) }
    /// The bytes of a store in memory; `nil` for others.
    public var bytes: UnsafeMutableRawBufferPointer? { unsafe memory }

    /// So many zeroed bytes, which take no memory until they are written.
    ///
    /// - Throws: `EINVAL` none, or more than there are addresses; `ENOMEM`.
    public init(byteCount: UInt64, isReadOnly: Bool = false) throws(Errno) {
        guard let count = Int(exactly: byteCount), count > 0 else { throw .invalidArgument }
        let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
        let base = unsafe mmap(nil, count, PROT_READ | PROT_WRITE, flags, -1, 0)
        guard let base = unsafe base, unsafe base != MAP_FAILED else { throw .noMemory }
        // Fewer faults and misses for what is all one large array.
        _ = unsafe madvise(base, count, MADV_HUGEPAGE)
        unsafe memory = UnsafeMutableRawBufferPointer(start: base, count: count)
        self.isReadOnly = isReadOnly
    }

    deinit { _ = unsafe munmap(memory.baseAddress, memory.count) }

    /// Carries out a request, at once.
    public func start(_ request: StoreRequest) -> StoreAnswer {
        guard let base = unsafe memory.baseAddress, let place = Int(exactly: request.offset),
            let count = Int(exactly: request.byteCount), unsafe place <= memory.count,
            unsafe count <= memory.count - place
        else { return .failed(.invalidArgument) }
        var position = unsafe base + place
        switch request.operation {
        case .flush: break
        case .deallocate, .writeZeroes: unsafe clear(position, count)
        case .read:
            for index in unsafe 0..<request.vectors.count {
                let vector = unsafe request.vectors[index]
                unsafe memcpy(vector.iov_base, position, vector.iov_len)
                unsafe position += vector.iov_len
            }
        case .write:
            for index in unsafe 0..<request.vectors.count {
                let vector = unsafe request.vectors[index]
                unsafe memcpy(position, vector.iov_base, vector.iov_len)
                unsafe position += vector.iov_len
            }
        }
        return .done
    }

    /// Whole pages are given back, which makes zeros of them; the rest is overwritten.
    private func clear(_ start: UnsafeMutableRawPointer, _ count: Int) {
        let page = 4096
        let head = min(count, -Int(bitPattern: start) & (page - 1))
        let whole = (count - head) & ~(page - 1)
        unsafe memset(start, 0, head)
        if whole > 0, unsafe madvise(start + head, whole, MADV_DONTNEED) != 0 {
            unsafe memset(start + head, 0, whole)
        }
        unsafe memset(start + head + whole, 0, count - head - whole)
    }
}
