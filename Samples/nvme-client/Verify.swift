internal import ArgumentParser
internal import NVMeDriver

/// The subcommand verify.
struct Verify: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Write a pattern to blocks, read them back and compare every byte.",
        discussion: """
            The pattern depends on the block's number and the seed. The phases can be done apart: --write writes and \
            flushes, --check reads and compares, for instance after the server was started again. This destroys what is in \
            the blocks.
            """)

    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var blocks: BlockRange

    @Option(help: "Seed of the pattern.")
    var seed: UInt64 = 1

    @Flag(help: "Only write.")
    var write = false

    @Flag(help: "Only read and compare.")
    var check = false

    @Flag(help: "Print JSON.")
    var json = false

    func validate() throws {
        guard !(write && check) else { throw ValidationError("--write and --check exclude each other") }
    }

    func run() throws {
        try reportingErrors {
            let controller = try connection.connect()
            let namespace = try controller.namespace(connection.namespace)
            let range = try blocks.resolve(namespace)
            let pattern = Pattern(seed: seed, blockShift: namespace.blockShift)
            let byteCount = (range.upperBound - range.lowerBound) << UInt64(namespace.blockShift)
            var transfer = try BulkTransfer(controller, namespace)
            if !check {
                var progress = Progress("written", of: byteCount)
                try transfer.write(range) { blocks, memory, offset in
                    try pattern.fill(blocks, memory, at: offset)
                    progress.advance(UInt64(blocks.count) << UInt64(namespace.blockShift))
                }
                try transfer.flush()
                progress.finish()
            }
            var difference: Pattern.Difference?
            if !write {
                var progress = Progress("compared", of: byteCount)
                do {
                    try transfer.read(range) { blocks, memory, offset in
                        if let found = try pattern.check(blocks, memory, at: offset) { throw found }
                        progress.advance(UInt64(blocks.count) << UInt64(namespace.blockShift))
                    }
                } catch let found as Pattern.Difference {
                    difference = found
                }
                progress.finish()
            }
            try transfer.finish()
            try controller.shutDown()
            try report(controller, byteCount, difference)
        }
    }

    private func report(
        _ controller: Controller, _ byteCount: UInt64, _ difference: Pattern.Difference?
    ) throws {
        if let difference {
            complain(
                """
                block \(difference.block) differs at byte \(difference.offset): \
                0x\(String(difference.found, radix: 16)) instead of 0x\(String(difference.expected, radix: 16))
                """)
        }
        if json {
            print(
                JSON.object([
                    ("mode", .text(controller.memoryMode.rawValue)), ("bytes", .integer(byteCount)),
                    ("written", .flag(!check)), ("compared", .flag(!write)),
                    ("same", .flag(difference == nil)),
                ]))
        } else if difference == nil {
            let verb =
                write ? "written" : check ? "compared, no difference" : "written and compared, no difference"
            print("\(byteCount) bytes \(verb)")
        }
        if difference != nil { throw ExitCode(2) }
    }
}
