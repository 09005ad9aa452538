internal import Glibc
internal import Synchronization
internal import SystemPackage
internal import VFIOUserSystem

/// The words of a dirty bitmap.
typealias DirtyWords = UnsafeMutablePointer<Atomic<UInt64>>

/// The owner of one mapping's dirty bits: words of 64 pages, page 0 the lowest bit of the first.
@safe
struct DirtyBitmap: ~Copyable {
    private let words: DirtyWords
    private let count: Int

    /// From this size on memory comes from the kernel, unpromised: a client may ask for bits by the terabyte.
    private static let large = 1 << 17
    /// The most bytes, enough for 8 TiB in pages of 4 KiB: looking through them takes a fraction of a second.
    private static let largest = 1 << 28

    /// Words for a range of `length` bytes in pages of `pageSize`, which is not 0.
    static func words(_ length: UInt64, pageSize: UInt64) -> Int {
        Int(clamping: length.dividedRoundingUp(by: pageSize).dividedRoundingUp(by: 64))
    }

    /// All clean. Throws `ENOMEM`.
    init(words count: Int) throws(Errno) {
        self.count = count
        let (size, overflow) = count.multipliedReportingOverflow(by: MemoryLayout<UInt64>.stride)
        if overflow || size > DirtyBitmap.largest { throw .noMemory }
        if size >= DirtyBitmap.large {
            let memory = try MemoryMapping(reserving: size)
            // Fresh pages are zeros, and an Atomic<UInt64> is laid out as a UInt64.
            guard let base = unsafe memory.base else { throw .noMemory }
            unsafe words = base.bindMemory(to: Atomic<UInt64>.self, capacity: count)
            memory.release()
        } else {
            // As above, by calloc.
            guard let base = unsafe calloc(max(count, 1), MemoryLayout<UInt64>.stride) else {
                throw .noMemory
            }
            unsafe words = base.bindMemory(to: Atomic<UInt64>.self, capacity: count)
        }
    }

    /// Takes back what `release` gave, with the same count.
    @unsafe
    init(adopting words: DirtyWords, words count: Int) {
        unsafe self.words = words
        self.count = count
    }

    consuming func release() -> DirtyWords {
        let words = unsafe self.words
        discard self
        return unsafe words
    }

    deinit {
        // Allocated by init, by the same rule.
        let size = count * MemoryLayout<UInt64>.stride
        if size >= DirtyBitmap.large {
            _ = unsafe MemoryMapping(adopting: words, length: size)
        } else {
            unsafe free(words)
        }
    }
}

extension UInt64 {
    /// The quotient rounded up, which cannot overflow. `divisor` is not 0.
    @inlinable
    func dividedRoundingUp(by divisor: UInt64) -> UInt64 {
        let (quotient, remainder) = quotientAndRemainder(dividingBy: divisor)
        return quotient &+ (remainder == 0 ? 0 : 1)
    }

    /// The product, or the greatest number if it is above that.
    func saturating(times factor: UInt64) -> UInt64 {
        let (product, overflow) = multipliedReportingOverflow(by: factor)
        return overflow ? .max : product
    }
}
