internal import ArgumentParser
internal import NVMeDriver
internal import SystemPackage
internal import VFIOUserClient

/// The subcommand read.
struct Read: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Copy blocks to a file or to standard output.")

    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var blocks: BlockRange

    @Option(name: .shortAndLong, help: "File to write, which is made anew; - is standard output.")
    var output = "-"

    func run() throws {
        try reportingErrors {
            let controller = try connection.connect()
            let namespace = try controller.namespace(connection.namespace)
            let range = try blocks.resolve(namespace)
            let file = try File(writing: output)
            var transfer = try BulkTransfer(controller, namespace)
            var bytes = [UInt8](repeating: 0, count: transfer.pieceByteCount)
            try transfer.read(range) { blocks, memory, offset in
                let count = blocks.count << namespace.blockShift
                if count < bytes.count { bytes.removeLast(bytes.count - count) }
                var span = bytes.mutableSpan
                try memory.read(at: offset, into: &span)
                try file.write(bytes)
            }
            try transfer.finish()
            try controller.shutDown()
        }
    }
}
