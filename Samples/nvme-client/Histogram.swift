/// Counts of times in nanoseconds, in 64 classes for each power of two: no time is off by more than 1.6 %.
struct Histogram {
    private var counts = [UInt64](repeating: 0, count: 59 * 64)
    private(set) var total: UInt64 = 0
    /// The longest time, exact.
    private(set) var longest: UInt64 = 0

    @inline(__always)
    mutating func record(_ time: UInt64) {
        counts[Self.place(time)] &+= 1
        total &+= 1
        if time > longest { longest = time }
    }

    @inline(__always)
    private static func place(_ time: UInt64) -> Int {
        guard time >= 64 else { return Int(truncatingIfNeeded: time) }
        let shift = 57 &- time.leadingZeroBitCount
        return (shift &+ 1) &* 64 &+ Int(truncatingIfNeeded: time &>> UInt64(shift) & 63)
    }

    /// The time that this share of all, 0...1, do not exceed: the largest of its class.
    func percentile(_ share: Double) -> UInt64 {
        let wanted = UInt64((Double(total) * share).rounded(.up))
        var sum: UInt64 = 0
        for place in counts.indices {
            sum += counts[place]
            guard sum >= wanted, sum > 0 else { continue }
            guard place >= 64 else { return UInt64(place) }
            let shift = UInt64(place / 64 - 1)
            return min(longest, (UInt64(64 + place % 64) + 1) << shift &- 1)
        }
        return longest
    }

    mutating func add(_ other: Histogram) {
        for place in counts.indices { counts[place] &+= other.counts[place] }
        total &+= other.total
        longest = max(longest, other.longest)
    }
}
