internal import Glibc
internal import Synchronization

/// Memory that could not be unmapped yet.
///
/// The kernel joins neighbouring mappings of one file. Unmapping the middle of what it joined makes two of it, and
/// fails (`ENOMEM`) for a process that has as many as it may (vm.max_map_count). Such memory is nobody's any more; it
/// is kept here and unmapped as soon as there is room.
package enum UnmapBacklog {
    private struct Range {
        let base: UInt
        var length: Int
    }

    private static let ranges = Mutex<[Range]>([])
    /// How many, to be looked at without the lock.
    private static let waiting = Atomic<Int>(0)

    /// Bytes that wait.
    package static var byteCount: Int { ranges.withLock { $0.reduce(0) { $0 + $1.length } } }

    /// Unmaps a range that belongs to the caller, now or later.
    @unsafe
    static func unmap(_ base: UnsafeMutableRawPointer, _ length: Int) {
        if unsafe munmap(base, length) != 0, errno == ENOMEM {
            let range = Range(base: UInt(bitPattern: base), length: length)
            ranges.withLock {
                $0.append(range)
                waiting.store($0.count, ordering: .relaxed)
            }
        } else if waiting.load(ordering: .relaxed) != 0 {
            retry()
        }
    }

    /// Tries again until it does not work.
    private static func retry() {
        ranges.withLock {
            while let range = $0.last, isUnmapped(range) { $0.removeLast() }
            waiting.store($0.count, ordering: .relaxed)
        }
    }

    /// Tries to unmap all that waits. To be called when much has been unmapped.
    package static func clear() {
        if waiting.load(ordering: .relaxed) == 0 { return }
        ranges.withLock {
            // What touches goes together: a mapping as a whole needs no other.
            var joined: [Range] = []
            for range in $0.sorted(by: { $0.base < $1.base }) {
                if let last = joined.last, last.base + UInt(last.length) == range.base {
                    joined[joined.count - 1].length += range.length
                } else {
                    joined.append(range)
                }
            }
            $0 = joined.filter { !isUnmapped($0) }
            waiting.store($0.count, ordering: .relaxed)
        }
    }

    /// Unmaps a range, if that works.
    private static func isUnmapped(_ range: Range) -> Bool {
        // It was a caller's own, and has been nobody's since.
        unsafe munmap(UnsafeMutableRawPointer(bitPattern: range.base), range.length) == 0
    }
}
