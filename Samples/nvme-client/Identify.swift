internal import ArgumentParser
internal import NVMeDriver

/// The subcommand identify.
struct Identify: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show the controller and its namespaces.")

    @OptionGroup var connection: ConnectionOptions

    @Flag(help: "Print JSON.")
    var json = false

    func run() throws {
        try reportingErrors {
            let controller = try connection.connect()
            let namespaces = try controller.namespaceIdentifiers().map { identifier throws(NVMeError) in
                try controller.namespace(identifier)
            }
            print(json ? describe(controller, namespaces).description : text(controller, namespaces))
            try controller.shutDown()
        }
    }

    private func describe(_ controller: Controller, _ namespaces: [Namespace]) -> JSON {
        let identity = controller.identity
        return .object([
            ("model", .text(identity.model)), ("serial", .text(identity.serialNumber)),
            ("firmware", .text(identity.firmware)), ("subsystem", .text(identity.subsystemName)),
            ("version", .text(version(identity))), ("max_transfer", .integer(controller.maxTransfer)),
            ("max_queue_entries", .integer(controller.maxQueueEntries)), ("sgl", .flag(identity.takesSGLs)),
            ("volatile_cache", .flag(identity.hasVolatileCache)),
            ("mode", .text(controller.memoryMode.rawValue)),
            ("mapped_doorbells", .flag(controller.hasMappedDoorbells)),
            (
                "namespaces",
                .list(
                    namespaces.map {
                        .object([
                            ("id", .integer(UInt64($0.identifier))), ("blocks", .integer($0.blockCount)),
                            ("block_size", .integer($0.blockSize)), ("read_only", .flag($0.isReadOnly)),
                        ])
                    })
            ),
        ])
    }

    private func text(_ controller: Controller, _ namespaces: [Namespace]) -> String {
        let identity = controller.identity
        var lines = [
            "model              \(identity.model)",
            "serial number      \(identity.serialNumber)",
            "firmware           \(identity.firmware)",
            "subsystem          \(identity.subsystemName)",
            "version            \(version(identity))",
            "largest transfer   \(controller.maxTransfer) bytes",
            "largest queue      \(controller.maxQueueEntries) entries",
            "SGLs               \(identity.takesSGLs ? "yes" : "no")",
            "volatile cache     \(identity.hasVolatileCache ? "yes" : "no")",
            "memory             \(controller.memoryMode == .ioas ? "IOAS mode" : "legacy mode")",
            "doorbells          \(controller.hasMappedDoorbells ? "mapped" : "by messages")",
        ]
        for namespace in namespaces {
            lines.append(
                "namespace \(namespace.identifier)        \(namespace.blockCount) blocks of "
                    + "\(namespace.blockSize) bytes" + (namespace.isReadOnly ? ", read-only" : ""))
        }
        return lines.joined(separator: "\n")
    }

    private func version(_ identity: ControllerIdentity) -> String {
        "\(identity.version >> 16).\(identity.version >> 8 & 0xff).\(identity.version & 0xff)"
    }
}
