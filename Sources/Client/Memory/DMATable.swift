internal import Synchronization
internal import SystemPackage

/// The client memory that a server may ask for by DMA_READ and DMA_WRITE, by IOVA.
///
/// Shared with the thread that serves the twin socket.
final class DMATable: Sendable {
    /// Memory at `first...last`.
    struct Entry: Sendable {
        let first: UInt64
        let last: UInt64
        let rights: Client.DMARights
        let memory: MappedMemory
        /// Where it begins in `memory`.
        let offset: Int
    }

    /// A part of one entry's memory.
    struct Piece: Sendable {
        let memory: MappedMemory
        let offset: Int
        let count: Int
    }

    /// Ascending, not overlapping.
    private let entries = Mutex<[Entry]>([])

    /// Adds memory unless it overlaps what is there.
    ///
    /// - Returns: whether it was added.
    func insert(_ entry: Entry) -> Bool {
        entries.withLock { entries in
            let place = Self.place(of: entry.first, in: entries)
            guard place == entries.count || entries[place].first > entry.last else { return false }
            entries.insert(entry, at: place)
            return true
        }
    }

    /// Removes memory that covers exactly this range.
    func remove(first: UInt64, last: UInt64) {
        entries.withLock { entries in
            entries.removeAll { $0.first == first && $0.last == last }
        }
    }

    func removeAll() { entries.withLock { $0.removeAll() } }

    /// The pieces of memory that make up a range of IOVAs. `count` is at most the largest transfer.
    ///
    /// - Throws: `EFAULT` some of it is not mapped, `EPERM` not with these rights.
    func pieces(_ address: UInt64, _ count: Int, _ rights: Client.DMARights) throws(Errno) -> [Piece] {
        guard count > 0 else { return [] }
        let (last, overflow) = address.addingReportingOverflow(UInt64(count - 1))
        guard !overflow else { throw .badAddress }
        // Taken out of the lock as a copy: errors cannot pass through it typed.
        let entries = self.entries.withLock { $0 }
        var result: [Piece] = []
        var next = address
        var place = Self.place(of: address, in: entries)
        while place < entries.count, entries[place].first <= next {
            let entry = entries[place]
            guard entry.rights.isSuperset(of: rights) else { throw .notPermitted }
            let end = min(last, entry.last)
            result.append(
                Piece(
                    memory: entry.memory, offset: entry.offset + Int(next - entry.first),
                    count: Int(end - next) + 1))
            if end == last { return result }
            next = end + 1
            place += 1
        }
        throw .badAddress
    }

    /// The first entry that ends at or behind an address.
    private static func place(of address: UInt64, in entries: [Entry]) -> Int {
        var low = 0
        var high = entries.count
        while low < high {
            let middle = (low + high) / 2
            if entries[middle].last < address { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
