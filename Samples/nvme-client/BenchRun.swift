internal import Glibc
internal import NVMeDriver
internal import SystemPackage
internal import VFIOUserClient

/// The loop of a benchmark over its lanes.
struct BenchRun: ~Copyable {
    private var lanes: Lanes
    private let isTerminal = isatty(2) == 1

    /// When a measurement ends.
    enum Limit {
        case seconds(Double)
        case commands(UInt64)
    }

    /// What came of it.
    struct Result {
        var histogram = Histogram()
        var seconds = 0.0
        var rate: Double { Double(histogram.total) / max(seconds, 1e-9) }
    }

    init(_ lanes: consuming Lanes) { self.lanes = lanes }

    /// Keeps all lanes full until the limit is reached. The commands outstanding then stay so.
    @discardableResult
    mutating func measure(_ limit: Limit, shows: Bool) throws(NVMeError) -> Result {
        for number in 0..<lanes.count {
            try lanes.with(number) { lane throws(NVMeError) in
                lane.startOver()
                try lane.fill()
            }
        }
        let start = monotonicNanoseconds()
        var end = UInt64.max
        var wanted = UInt64.max
        switch limit {
        case .seconds(let seconds): end = start &+ UInt64(seconds * 1e9)
        case .commands(let count): wanted = count
        }
        let last = try loop(start, end, wanted, showsEach: shows && isTerminal ? 1_000_000_000 : .max)
        var result = Result()
        result.seconds = Double(last - start) / 1e9
        for number in 0..<lanes.count {
            try lanes.with(number) { lane throws(NVMeError) in
                result.histogram.add(lane.histogram)
            }
        }
        return result
    }

    /// - Returns: the time of the last completion.
    @inline(never)
    private mutating func loop(
        _ start: UInt64, _ end: UInt64, _ wanted: UInt64, showsEach interval: UInt64
    ) throws(NVMeError) -> UInt64 {
        var done: UInt64 = 0
        var nextShow = interval == .max ? .max : start &+ interval
        var shown: UInt64 = 0
        while true {
            for number in 0..<lanes.count {
                var now: UInt64 = 0
                let taken = try lanes.with(number) { lane throws(NVMeError) in
                    try lane.turn(&now, beginsAnew: true)
                }
                guard taken > 0 else { continue }
                done &+= UInt64(truncatingIfNeeded: taken)
                if now >= end || done >= wanted {
                    if nextShow != .max { Progress.show("") }
                    return now
                }
                if now >= nextShow {
                    let rate = Double(done &- shown) * 1e9 / Double(now &- nextShow &+ interval)
                    Progress.show("\((now &- start) / 1_000_000_000) s: \(UInt64(rate)) IOPS")
                    shown = done
                    nextShow = now &+ interval
                }
            }
        }
    }

    /// Waits for what is outstanding.
    mutating func drain() throws(NVMeError) {
        for number in 0..<lanes.count {
            try lanes.with(number) { lane throws(NVMeError) in
                while lane.outstandingCount > 0 {
                    var now: UInt64 = 0
                    _ = try lane.turn(&now, beginsAnew: false)
                }
            }
        }
    }
}

extension DMABuffer {
    /// Fills it with data that no two pages have in common.
    func fillWithNoise(seed: UInt64) throws(NVMeError) {
        let noise = Pattern(seed: seed, blockShift: 12)
        do throws(Errno) {
            try noise.fill(0..<UInt64(count >> 12), memory, at: 0)
        } catch { throw .connection(error) }
    }
}
