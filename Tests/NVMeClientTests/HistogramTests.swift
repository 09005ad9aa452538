import Testing

@testable import nvme_client

struct HistogramTests {
    /// Percentiles of times drawn at random are those of the sorted times, but for the width of a class.
    @Test func agreesWithSorting() {
        for scale in [1, 100, 10_000, 1_000_000_000] as [UInt64] {
            var histogram = Histogram()
            var times = (0..<5000).map { _ in UInt64.random(in: 0...scale) * UInt64.random(in: 0...scale) }
            for time in times { histogram.record(time) }
            times.sort()
            #expect(histogram.total == 5000 && histogram.longest == times.last)
            for share in [0.001, 0.5, 0.9, 0.99, 0.999, 1] {
                let exact = times[Int((5000 * share).rounded(.up)) - 1]
                let found = histogram.percentile(share)
                #expect(found >= exact && Double(found) <= Double(exact) * 1.016 + 1)
            }
        }
    }

    @Test func edges() {
        var histogram = Histogram()
        #expect(histogram.percentile(0.5) == 0)
        for time in [0, 63, 64, 127, 128, .max, .max - 1] as [UInt64] { histogram.record(time) }
        #expect(histogram.percentile(0.1) == 0)
        #expect(histogram.percentile(2.0 / 7) == 63 && histogram.percentile(3.0 / 7) == 64)
        #expect(histogram.percentile(4.0 / 7) == 127 && histogram.percentile(1) == .max)
        var sum = Histogram()
        sum.record(5)
        sum.add(histogram)
        #expect(sum.total == 8 && sum.longest == .max && sum.percentile(0.25) == 5)
    }
}
