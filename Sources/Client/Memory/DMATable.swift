internal import Synchronization
internal import SystemPackage

/// The client memory that a server may ask for by DMA_READ and DMA_WRITE: by address space and IOVA, as the
/// server keeps it.
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

    private struct Spaces {
        /// By address space: ascending, not overlapping.
        var entries: [UInt32: [Entry]] = [legacySpace: []]
        /// Where the server's commands look, one after the other.
        var visible = [legacySpace]
        /// Where DMA_MAP puts memory.
        var compatible: UInt32? = legacySpace
    }

    /// The one address space of legacy mode; no IOAS has this id.
    private static let legacySpace: UInt32 = 0

    private let spaces = Mutex(Spaces())

    /// The address space that DMA_MAP and DMA_UNMAP change; nil in IOAS mode until one is chosen.
    var compatible: UInt32? {
        get { spaces.withLock { $0.compatible } }
        set { spaces.withLock { $0.compatible = newValue } }
    }

    /// IOAS mode: no address space yet.
    func beginIOAS() {
        spaces.withLock { $0 = Spaces(entries: [:], visible: [], compatible: nil) }
    }

    // MARK: Address spaces

    /// Has memory found while `request` maps it, since the server may use it before its reply is here, and from
    /// then on if that succeeds.
    func insert(
        _ entry: Entry, in space: UInt32, while request: () throws(Errno) -> Void
    ) throws(Errno) {
        // What overlaps other memory is for the server to judge.
        let isNew = insert(entry, in: space)
        do throws(Errno) {
            try request()
        } catch {
            if isNew { remove(first: entry.first, last: entry.last, in: space) }
            throw error
        }
        if !isNew {
            remove(first: entry.first, last: entry.last, in: space)
            insert(entry, in: space)
        }
    }

    /// Adds memory unless it overlaps what is there.
    ///
    /// - Returns: whether it was added.
    @discardableResult
    func insert(_ entry: Entry, in space: UInt32) -> Bool {
        spaces.withLock { spaces in
            let entries = spaces.entries[space, default: []]
            let place = Self.place(of: entry.first, in: entries)
            guard place == entries.count || entries[place].first > entry.last else { return false }
            spaces.entries[space, default: []].insert(entry, at: place)
            return true
        }
    }

    /// Removes memory that lies within this range.
    func remove(first: UInt64, last: UInt64, in space: UInt32) {
        spaces.withLock { spaces in
            spaces.entries[space]?.removeAll { $0.first >= first && $0.last <= last }
        }
    }

    /// An address space is no more.
    func destroy(_ space: UInt32) {
        spaces.withLock { spaces in
            spaces.entries[space] = nil
            if spaces.compatible == space { spaces.compatible = nil }
        }
    }

    /// Removes all memory of an address space.
    func removeAll(in space: UInt32) { spaces.withLock { $0.entries[space] = nil } }

    /// The entry that holds a range; nil if there is none.
    func entry(of range: ClosedRange<UInt64>, in space: UInt32) -> Entry? {
        spaces.withLock { spaces in
            spaces.entries[space]?.first { $0.first <= range.lowerBound && $0.last >= range.upperBound }
        }
    }

    /// Has the server's commands find an address space, or none, and nothing else. While `request` is under way
    /// they may mean what was there before or what comes.
    func attach(_ space: UInt32?, while request: () throws(Errno) -> Void) throws(Errno) {
        let before = spaces.withLock { spaces in
            defer { if let space { spaces.visible.insert(space, at: 0) } }
            return spaces.visible
        }
        do throws(Errno) {
            try request()
        } catch {
            spaces.withLock { $0.visible = before }
            throw error
        }
        spaces.withLock { $0.visible = space.map { [$0] } ?? [] }
    }

    // MARK: Looking up

    /// The pieces of memory that make up a range of IOVAs. `count` is at most the largest transfer.
    ///
    /// - Throws: `EFAULT` some of it is not mapped, `EPERM` not with these rights.
    func pieces(_ address: UInt64, _ count: Int, _ rights: Client.DMARights) throws(Errno) -> [Piece] {
        guard count > 0 else { return [] }
        let (last, overflow) = address.addingReportingOverflow(UInt64(count - 1))
        guard !overflow else { throw .badAddress }
        let result: Result<[Piece], Errno> = spaces.withLock { spaces in
            for space in spaces.visible {
                let result = Self.pieces(address...last, rights, in: spaces.entries[space] ?? [])
                if case .failure(.badAddress) = result { continue }
                return result
            }
            return .failure(.badAddress)
        }
        return try result.get()
    }

    private static func pieces(
        _ range: ClosedRange<UInt64>, _ rights: Client.DMARights, in entries: [Entry]
    ) -> Result<[Piece], Errno> {
        var result: [Piece] = []
        var next = range.lowerBound
        var place = place(of: next, in: entries)
        while place < entries.count, entries[place].first <= next {
            let entry = entries[place]
            guard entry.rights.isSuperset(of: rights) else { return .failure(.notPermitted) }
            let end = min(range.upperBound, entry.last)
            result.append(
                Piece(
                    memory: entry.memory, offset: entry.offset + Int(next - entry.first),
                    count: Int(end - next) + 1))
            if end == range.upperBound { return .success(result) }
            next = end + 1
            place += 1
        }
        return .failure(.badAddress)
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
