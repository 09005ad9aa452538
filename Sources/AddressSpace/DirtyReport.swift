internal import Glibc
internal import Synchronization
package import SystemPackage
internal import VFIOUserSystem

/// What is dirty at the start of a mapping: a bitmap of 64-bit words, produced piece by piece and cleared on
/// the way.
///
/// Bit i, counted from the lowest bit of the first byte, stands for the i-th page of the report's page size.
/// It is set if any page of dirty logging that it overlaps was dirty. The last word also tells of what lies
/// behind the range, as far as the mapping's own bits share a word with the range's: those bits are returned,
/// thus cleared. Nothing is cleared that is not returned.
package struct DirtyReport: ~Copyable {
    private let mapping: Mapping
    /// Words not yet produced.
    private var wordsLeft: UInt64
    /// Bytes of a source page.
    private let loggingPageSize: UInt64
    /// From one result bit to the next, in source pages and bytes.
    private let step: (quotient: UInt64, remainder: UInt64)
    /// The same for 64 result bits; nil if that is too far.
    private let skip: (quotient: UInt64, remainder: UInt64)?
    /// The source bits from here on are not looked at.
    private let end: UInt64
    /// The source page that the next result bit begins in, and how many bytes into it.
    private var bit: UInt64 = 0
    private var remainder: UInt64 = 0
    /// The source word that was fetched and cleared last.
    private var fetched: UInt64 = 0
    private var fetchedIndex = UInt64.max

    /// The bytes of the whole bitmap: a multiple of 8.
    package let byteCount: UInt64

    /// The bytes of the bitmap for a range. Throws `EINVAL` for a page size of 0 or a range smaller than a
    /// page.
    package static func byteCount(_ length: UInt64, pageSize: UInt64) throws(Errno) -> UInt64 {
        if pageSize == 0 || length < pageSize { throw .invalidArgument }
        // At most 2^64 / 64 * 8.
        return length.dividedRoundingUp(by: pageSize).dividedRoundingUp(by: 64) * 8
    }

    /// The range must be the start of the mapping, and longer than neither page size.
    init(_ mapping: Mapping, _ length: UInt64, pageSize: UInt64, loggingPageSize: UInt64) {
        let words = length.dividedRoundingUp(by: pageSize).dividedRoundingUp(by: 64)
        self.mapping = mapping
        self.loggingPageSize = loggingPageSize
        wordsLeft = words
        byteCount = words * 8
        step = pageSize.quotientAndRemainder(dividingBy: loggingPageSize)
        // Where the bits end that there are, that share a word with the range, and that fit into the result.
        let all = mapping.length.dividedRoundingUp(by: loggingPageSize)
        let range = length.dividedRoundingUp(by: loggingPageSize).dividedRoundingUp(by: 64).saturating(
            times: 64)
        let bytes = words.saturating(times: 64).saturating(times: pageSize)
        end = min(all, range, bytes.dividedRoundingUp(by: loggingPageSize))
        let (skipped, skips) = pageSize.multipliedReportingOverflow(by: 64)
        skip = skips ? nil : skipped.quotientAndRemainder(dividingBy: loggingPageSize)
    }

    /// Produces the next bytes of the bitmap: as many as there are and fit, in whole words. The mapping must
    /// not be removed, nor logging stopped, before the last; bits that are gone read as clean.
    package mutating func append(to output: inout OutputRawSpan) {
        if isSame { appendSame(to: &output) }
        while wordsLeft > 0, output.freeCapacity >= 8 {
            // A word of any value may be appended, and there is room.
            unsafe output.append(next(), as: UInt64.self)
        }
        // Whoever marked a page that was still marked, and so did not mark it again, has stored to it before this:
        // the client, which reads the page after this report, finds what was stored.
        ThreadFence.issue()
    }

    /// Whether all of the bitmap was produced.
    package var isDone: Bool { wordsLeft == 0 }

    /// The next word of the bitmap; zero after the last.
    package mutating func next() -> UInt64 {
        if wordsLeft == 0 { return 0 }
        wordsLeft -= 1
        if bit >= end { return 0 }
        if isSame {
            let word = fetch(bit / 64)
            bit += 64
            return word
        }
        if skipClean() { return 0 }
        if let word = uniform() { return word }
        var word: UInt64 = 0
        for index in 0..<UInt64(64) where bit < end {
            let first = bit
            advance(step)
            let last = remainder == 0 ? bit &- 1 : bit
            if any(first, min(last, end - 1)) { word |= 1 << index }
        }
        return word
    }

    /// Whether the page sizes are equal, so that words are copied.
    private var isSame: Bool { step.quotient == 1 && step.remainder == 0 }

    /// Copies whole source words: the usual case, at the speed of memory.
    private mutating func appendSame(to output: inout OutputRawSpan) {
        guard mapping.isLive, let words = unsafe mapping.record.pointee.dirty else { return }
        let whole = (end - min(bit, end)) / 64
        let room = UInt64(output.freeCapacity / 8)
        let count = Int(truncatingIfNeeded: min(wordsLeft - min(wordsLeft, 1), whole, room))
        guard count > 0 else { return }
        // Below the end, thus below the number of words; the output has room for as many.
        let source = unsafe words + Int(truncatingIfNeeded: bit / 64)
        unsafe output.withUnsafeMutableBytes { bytes, initialized in
            guard let base = bytes.baseAddress else { return }
            unsafe DirtyReport.take(source, count, to: base + initialized)
            initialized += count * 8
        }
        bit += UInt64(count) * 64
        wordsLeft -= UInt64(count)
    }

    /// Fetches and clears words. Most are clean: they are looked at eight at a time, and all zeros are written at once.
    private static func take(_ words: DirtyWords, _ count: Int, to target: UnsafeMutableRawPointer) {
        _ = unsafe memset(target, 0, count &* 8)
        var index = 0
        while index &+ 8 <= count {
            var found: UInt64 = 0
            for place in index..<index &+ 8 { found |= unsafe words[place].load(ordering: .relaxed) }
            if found != 0 {
                for place in index..<index &+ 8 {
                    let word = unsafe take(words + place)
                    unsafe target.storeBytes(of: word, toByteOffset: place &* 8, as: UInt64.self)
                }
            }
            index &+= 8
        }
        while index < count {
            unsafe target.storeBytes(of: take(words + index), toByteOffset: index &* 8, as: UInt64.self)
            index &+= 1
        }
    }

    /// Fetches and clears a word. A clean one is only read.
    ///
    /// One whose bits are all set needs no exchange, which costs ten times as much: what another thread sets before it is
    /// cleared is among the bits returned, and what that thread stored before is visible after the fence at the end.
    @inline(__always)
    private static func take(_ word: DirtyWords) -> UInt64 {
        switch unsafe word.pointee.load(ordering: .acquiring) {
        case 0: return 0
        case .max:
            unsafe word.pointee.store(0, ordering: .releasing)
            return .max
        default: return unsafe word.pointee.exchange(0, ordering: .acquiring)
        }
    }

    /// Skips the next word if all it tells of is clean: what is usual, and a client must not make slow.
    private mutating func skipClean() -> Bool {
        guard let skip else { return false }
        let (last, wraps) = bit.addingReportingOverflow(skip.quotient &+ 1)
        let lastIndex = min(wraps ? UInt64.max : last, end - 1) / 64
        var index = bit / 64
        while index <= lastIndex {
            if peek(index) != 0 { return false }
            index += 1
        }
        advance(skip)
        if remainder != 0 {
            // The page here belongs to both words, so it has to be as clean for the next one, too, whatever happened
            // to it since. What did is for the next report.
            fetchedIndex = bit / 64
            fetched = 0
        }
        return true
    }

    /// The next word if it comes from one source word that is all clean or all dirty.
    private mutating func uniform() -> UInt64? {
        guard let skip, step.quotient == 0 else { return nil }
        let before = (bit, remainder)
        let index = bit / 64
        advance(skip)
        let last = remainder == 0 ? bit &- 1 : bit
        if last < end, last / 64 == index {
            let word = fetch(index)
            if word == 0 || word == UInt64.max { return word }
        }
        (bit, remainder) = before
        return nil
    }

    /// Goes on by a distance in whole source pages and the rest in bytes.
    private mutating func advance(_ distance: (quotient: UInt64, remainder: UInt64)) {
        bit &+= distance.quotient
        // Both are below the page size; the sum may be above 2^64 even so.
        let (sum, wraps) = remainder.addingReportingOverflow(distance.remainder)
        if wraps || sum >= loggingPageSize {
            remainder = sum &- loggingPageSize
            bit &+= 1
        } else {
            remainder = sum
        }
    }

    /// Whether any of the source bits from `first` to `last` was set.
    private mutating func any(_ first: UInt64, _ last: UInt64) -> Bool {
        var found: UInt64 = 0
        for index in (first / 64)...(last / 64) {
            var bits = fetch(index)
            if index == first / 64 { bits &= UInt64.max << (first % 64) }
            if index == last / 64 { bits &= UInt64.max >> (63 - last % 64) }
            found |= bits
        }
        return found != 0
    }

    /// A source word as it is, perhaps with bits behind the end.
    private func peek(_ index: UInt64) -> UInt64 {
        if index == fetchedIndex { return fetched }
        guard mapping.isLive, let words = unsafe mapping.record.pointee.dirty else { return 0 }
        // Not behind the end, thus below the number of words.
        return unsafe words[Int(truncatingIfNeeded: index)].load(ordering: .relaxed)
    }

    /// A source word, cleared as it is fetched: the bits below `end`. Words are asked for in ascending order, the
    /// same one perhaps again.
    private mutating func fetch(_ index: UInt64) -> UInt64 {
        if index == fetchedIndex { return fetched }
        fetchedIndex = index
        fetched = 0
        guard mapping.isLive, let words = unsafe mapping.record.pointee.dirty else { return 0 }
        // Below the end, thus below the number of words.
        let word = unsafe words + Int(truncatingIfNeeded: index)
        let rest = end - index * 64
        if rest >= 64 {
            fetched = unsafe DirtyReport.take(word)
        } else if unsafe word.pointee.load(ordering: .relaxed) != 0 {
            let mask = UInt64.max >> (64 - rest)
            fetched = unsafe word.pointee.bitwiseAnd(~mask, ordering: .acquiring).oldValue & mask
        }
        return fetched
    }
}
