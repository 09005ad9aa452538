/// Where gaps of some size may begin, so that a search for one need not start at the beginning each time.
///
/// For each power of two, no gap of at least that size begins below its hint. Filling an address space up
/// then looks at each mapping about once, not once for each new mapping.
final class GapHints {
    /// One for each power of two; empty until the first search.
    private var hints: [UInt64] = []
    private var bottom: UInt64 = 0
    private var alignment: UInt64 = 1

    /// Whether there are any.
    private(set) var isUsed = false

    /// Where a search above `bottom` for gaps of `length` bytes, not 0, starts.
    func start(_ length: UInt64, above bottom: UInt64, alignment: UInt64) -> UInt64 {
        if !isUsed || bottom != self.bottom || alignment != self.alignment {
            hints = Array(repeating: bottom, count: 64)
            isUsed = true
            self.bottom = bottom
            self.alignment = alignment
        }
        return hints[GapHints.index(length)]
    }

    /// No gap as large as the greatest power of two in `length` begins below `start`.
    func searched(_ length: UInt64, upTo start: UInt64) {
        if isUsed { hints[GapHints.index(length)] = start }
    }

    /// There is a gap from `start` to `end`, both inclusive, now.
    func opened(_ start: UInt64, through end: UInt64) {
        if !isUsed { return }
        let size = end - start
        let start = max(start, bottom)
        // One access to all of them.
        var hints: [UInt64] = []
        swap(&hints, &self.hints)
        for index in hints.indices where size >= (UInt64(1) << UInt64(index)) - 1 {
            hints[index] = min(hints[index], start)
        }
        swap(&hints, &self.hints)
    }

    /// Nothing is known any more.
    func reset() {
        hints = []
        isUsed = false
    }

    /// The number of the greatest power of two at or below `length`, which is not 0.
    static func index(_ length: UInt64) -> Int { 63 - length.leadingZeroBitCount }
}

extension IOAS {
    /// The lowest IOVA in `window` where `length` bytes, not 0, are free; a multiple of `alignment`, a power
    /// of two.
    func lowestFree(_ length: UInt64, in window: ClosedRange<UInt64>, alignment: UInt64) -> UInt64? {
        let power = UInt64(1) << UInt64(GapHints.index(length))
        var gap = gaps.start(length, above: window.lowerBound, alignment: alignment)
        if let before = floor(gap), before.last >= gap {
            guard let next = before.last.successor else { return nil }
            gap = next
        }
        // The first gap met that the hint's searches would have to look at again.
        var first: UInt64?
        var behind = self.first(from: gap)
        while gap <= window.upperBound {
            // Not used if there is no gap, so what starts at 0 may wrap.
            let end = min(behind.map { $0.iova &- 1 } ?? UInt64.max, window.upperBound)
            if behind?.iova != gap, let start = gap.aligned(up: alignment), start <= end {
                if end - start >= power - 1 { first = first ?? gap }
                if end - start >= length - 1 {
                    gaps.searched(length, upTo: first ?? gap)
                    return start
                }
            }
            guard let mapping = behind, let next = mapping.last.successor else { break }
            gap = next
            behind = self.first(from: next)
        }
        gaps.searched(length, upTo: first ?? min(gap, window.upperBound))
        return nil
    }
}

extension UInt64 {
    /// The next number, nil of the greatest.
    var successor: UInt64? { self == .max ? nil : self + 1 }

    /// The least multiple of a power of two at or above, nil if there is none.
    func aligned(up alignment: UInt64) -> UInt64? {
        let (sum, overflow) = addingReportingOverflow(alignment - 1)
        return overflow ? nil : sum & ~(alignment - 1)
    }
}
