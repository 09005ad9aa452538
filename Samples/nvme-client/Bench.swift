internal import ArgumentParser
internal import CNVMeSystem
internal import NVMeDriver
internal import SystemPackage

/// The subcommand bench.
struct Bench: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Measure commands a second and how long they take.",
        discussion: """
            One thread keeps --depth commands outstanding in each of --queues queues and looks for completions all the \
            time. The write patterns destroy what is in the namespace. Times are from a command's submission to the \
            moment its completion is seen, in classes 1.6 % wide; the clock is looked at once for all completions found \
            at a time.
            """)

    enum Pattern: String, CaseIterable, ExpressibleByArgument {
        case read, write, randread, randwrite, mixed
    }

    @OptionGroup var connection: ConnectionOptions

    @Option(help: "Commands outstanding in each queue.")
    var depth = 32

    @Option(help: "Bytes of a command, whole blocks.")
    var blockSize = 4096

    @Option(help: "read, write (one place after the other), randread, randwrite, mixed (random places).")
    var pattern = Pattern.randread

    @Option(help: "Reads of the pattern mixed, percent.")
    var readShare = 70

    @Option(help: "Seconds to measure; 5 without --count.")
    var duration: Double?

    @Option(help: "Commands to measure, instead of a time.")
    var count: UInt64?

    @Option(help: "Seconds before the measurement begins.")
    var warmUp: Double = 0

    @Option(help: "Pairs of I/O queues.")
    var queues = 1

    @Option(help: "Processor to stay on.")
    var cpu: Int32?

    @Flag(help: "Print JSON.")
    var json = false

    func validate() throws {
        guard (1...4095).contains(depth) else { throw ValidationError("--depth is 1 to 4095") }
        guard blockSize > 0 else { throw ValidationError("--block-size is above 0") }
        guard (0...100).contains(readShare) else { throw ValidationError("--read-share is 0 to 100") }
        guard duration == nil || count == nil else {
            throw ValidationError("--duration and --count exclude each other")
        }
        guard (0.001...1e6).contains(duration ?? 1), (0...1e6).contains(warmUp) else {
            throw ValidationError("--duration and --warm-up are up to 1000000 seconds")
        }
        guard (1...64).contains(queues) else { throw ValidationError("--queues is 1 to 64") }
        guard count != 0 else { throw ValidationError("--count is above 0") }
    }

    func run() throws {
        try reportingErrors {
            if let cpu {
                let error = Errno(rawValue: -min(0, nvmesys_stay_on(cpu)))
                guard error.rawValue == 0 else { throw failure("cannot stay on processor \(cpu): \(error)") }
            }
            let controller = try connection.connect(queues: queues)
            let namespace = try controller.namespace(connection.namespace)
            let workload = try makeWorkload(controller, namespace)
            var lanes = Lanes(capacity: queues)
            for number in 0..<queues {
                let buffer = try controller.makeBuffer(depth * blockSize)
                // Memory that was never touched would be one page of zeros.
                try buffer.fillWithNoise(seed: UInt64(number))
                // Larger than necessary, so that the controller need not be told of every completion taken.
                let entries = min(max(256, depth + 1), controller.maxQueueEntries)
                lanes.append(
                    Lane(
                        try controller.makeQueuePair(entries: entries), workload, buffer.iova, number: number,
                        of: queues))
            }
            var run = BenchRun(lanes)
            if warmUp > 0 { try run.measure(.seconds(warmUp), shows: false) }
            let limit = count.map { BenchRun.Limit.commands($0) } ?? .seconds(duration ?? 5)
            let result = try run.measure(limit, shows: true)
            try run.drain()
            print(json ? "\(describe(controller, result))" : text(result))
            try controller.shutDown()
        }
    }

    private func makeWorkload(_ controller: Controller, _ namespace: Namespace) throws -> Workload {
        guard blockSize % namespace.blockSize == 0 else {
            throw ValidationError("--block-size is a multiple of the namespace's \(namespace.blockSize)")
        }
        guard blockSize <= controller.maxTransfer else {
            throw ValidationError("--block-size is at most \(controller.maxTransfer)")
        }
        guard depth < controller.maxQueueEntries else {
            throw ValidationError("--depth is at most \(controller.maxQueueEntries - 1)")
        }
        let perCommand = blockSize >> namespace.blockShift
        let places = namespace.blockCount / UInt64(perCommand)
        guard places > 0 else { throw ValidationError("the namespace is smaller than --block-size") }
        let reads: UInt64
        switch pattern {
        case .read, .randread: reads = 256
        case .write, .randwrite: reads = 0
        case .mixed: reads = UInt64(readShare) * 256 / 100
        }
        return Workload(
            namespace: namespace, depth: depth, blocksPerCommand: perCommand,
            isRandom: pattern != .read && pattern != .write, readsIn256: reads, places: places)
    }

    private func text(_ result: BenchRun.Result) -> String {
        """
        \(pattern.rawValue), \(blockSize) bytes, depth \(depth)\(queues > 1 ? " in each of \(queues) queues" : "")
        commands       \(result.histogram.total) in \(fixed(result.seconds, 3)) s
        IOPS           \(UInt64(result.rate))
        MB/s           \(fixed(result.rate * Double(blockSize) / 1e6, 1))
        latency p50    \(fixed(microseconds(result, 0.5), 2)) us
        latency p99    \(fixed(microseconds(result, 0.99), 2)) us
        latency p99.9  \(fixed(microseconds(result, 0.999), 2)) us
        latency max    \(fixed(Double(result.histogram.longest) / 1000, 2)) us
        """
    }

    private func describe(_ controller: Controller, _ result: BenchRun.Result) -> JSON {
        .object([
            ("mode", .text(controller.memoryMode.rawValue)), ("pattern", .text(pattern.rawValue)),
            ("block_size", .integer(blockSize)), ("depth", .integer(depth)), ("queues", .integer(queues)),
            ("commands", .integer(result.histogram.total)), ("seconds", .number(result.seconds)),
            ("iops", .integer(UInt64(result.rate))),
            ("bytes_per_second", .integer(UInt64(result.rate * Double(blockSize)))),
            ("latency_us_p50", .number(microseconds(result, 0.5))),
            ("latency_us_p99", .number(microseconds(result, 0.99))),
            ("latency_us_p99_9", .number(microseconds(result, 0.999))),
            ("latency_us_max", .number(Double(result.histogram.longest) / 1000)),
        ])
    }

    private func microseconds(_ result: BenchRun.Result, _ share: Double) -> Double {
        Double(result.histogram.percentile(share)) / 1000
    }
}

/// A number with so many digits behind the point.
private func fixed(_ value: Double, _ digits: Int) -> String {
    var scale = 1.0
    for _ in 0..<digits { scale *= 10 }
    let scaled = UInt64((value * scale).rounded())
    let rest = String(scaled % UInt64(scale))
    return "\(scaled / UInt64(scale))." + String(repeating: "0", count: digits - rest.count) + rest
}
