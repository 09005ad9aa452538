/// An I/O address space: an ordered set of mappings that do not overlap.
@safe
final class IOAS {
    /// Counted from 1 on each connection.
    let id: UInt32
    private let pool: MappingPool
    let tree = IOVATree()
    let gaps = GapHints()

    init(id: UInt32, _ pool: MappingPool) {
        self.id = id
        self.pool = pool
    }

    var count: Int { tree.count }

    var first: Mapping? { unsafe tree.first.map { unsafe Mapping(pool, $0.slot) } }

    /// The first mapping that starts at or above an IOVA.
    func first(from iova: UInt64) -> Mapping? {
        unsafe tree.ceiling(iova).map { unsafe Mapping(pool, $0.slot) }
    }

    /// The mapping with an IOVA inside.
    func mapping(at iova: UInt64) -> Mapping? {
        guard let mapping = floor(iova), mapping.last >= iova else { return nil }
        return mapping
    }

    /// The mapping with the greatest start at or below an IOVA.
    func floor(_ iova: UInt64) -> Mapping? {
        unsafe tree.floor(iova).map { unsafe Mapping(pool, $0.slot) }
    }

    /// The mapping of exactly this range.
    func mapping(exactly iova: UInt64, _ length: UInt64) -> Mapping? {
        guard let mapping = floor(iova), mapping.iova == iova, mapping.length == length else { return nil }
        return mapping
    }

    /// Whether any mapping has an IOVA of `first` to `last`.
    func overlaps(_ first: UInt64, _ last: UInt64) -> Bool {
        guard let mapping = floor(last) else { return false }
        return mapping.last >= first
    }

    func insert(_ iova: UInt64, _ slot: UInt32) { tree.insert(iova, slot) }

    func remove(_ iova: UInt64) {
        guard let mapping = floor(iova), mapping.iova == iova else { return }
        // The gap that opens reaches from the mapping before to the one behind.
        if gaps.isUsed {
            let before = iova > 0 ? floor(iova - 1) : nil
            let start = before.map { $0.last + 1 } ?? 0
            let behind = mapping.last < UInt64.max ? first(from: mapping.last + 1) : nil
            let end = behind.map { $0.iova - 1 } ?? UInt64.max
            gaps.opened(start, through: end)
        }
        _ = tree.remove(iova)
    }

    func removeAll() {
        tree.removeAll()
        gaps.reset()
    }
}
