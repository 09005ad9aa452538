import Benchmark

let benchmarks: @Sendable () -> Void = {
    // Instructions need performance counters, which virtual machines seldom have.
    Benchmark.defaultConfiguration.metrics = [.wallClock, .throughput]
    Benchmark.defaultConfiguration.maxDuration = .seconds(2)
    Benchmark.defaultConfiguration.scalingFactor = .kilo
    decoding()
    translating()
    mapping()
    requests()
    nvme()
}
