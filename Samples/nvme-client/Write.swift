internal import ArgumentParser
internal import NVMeDriver
internal import SystemPackage
internal import VFIOUserClient

/// The subcommand write.
struct Write: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Copy a file, standard input or a pattern to blocks.",
        discussion: """
            Without --count, all of the input is written, or the pattern to the end of the namespace. The rest of the \
            last block is filled with zeros. What was written is flushed.
            """)

    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var blocks: BlockRange

    @Option(name: .shortAndLong, help: "File to read; - is standard input.")
    var input: String?

    @Option(help: "Write a pattern of this seed, which verify --check --seed knows.")
    var seed: UInt64?

    func validate() throws {
        guard (input == nil) != (seed == nil) else {
            throw ValidationError("either --input FILE or --seed N says what to write")
        }
    }

    func run() throws {
        try reportingErrors {
            let controller = try connection.connect()
            let namespace = try controller.namespace(connection.namespace)
            let range = try blocks.resolve(namespace)
            var transfer = try BulkTransfer(controller, namespace)
            if let input {
                try copy(File(reading: input), to: range, &transfer)
            } else if let seed {
                let pattern = Pattern(seed: seed, blockShift: namespace.blockShift)
                try transfer.write(range) { blocks, memory, offset in
                    try pattern.fill(blocks, memory, at: offset)
                }
            }
            try transfer.flush()
            try transfer.finish()
            try controller.shutDown()
        }
    }

    private func copy(_ file: File, to range: Range<UInt64>, _ transfer: inout BulkTransfer) throws {
        let blockSize = transfer.namespace.blockSize
        var next = range.lowerBound
        while next < range.upperBound {
            let room = Int(min(UInt64(transfer.pieceByteCount / blockSize), range.upperBound - next))
            var bytes = try file.read(upTo: room * blockSize)
            guard !bytes.isEmpty else {
                guard blocks.count == nil else { throw failure("\(file.path): shorter than --count blocks") }
                return
            }
            let count = (bytes.count + blockSize - 1) / blockSize
            bytes += [UInt8](repeating: 0, count: count * blockSize - bytes.count)
            try transfer.write(next..<next + UInt64(count)) { _, memory, offset in
                try memory.write(bytes, at: offset)
            }
            next += UInt64(count)
        }
        guard try blocks.count != nil || file.read(upTo: 1).isEmpty else {
            throw failure("\(file.path): longer than the rest of the namespace, which is written")
        }
    }
}
