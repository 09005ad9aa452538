internal import ArgumentParser
internal import Glibc
internal import Logging
internal import NVMeController
internal import NVMePCI
internal import VFIOUserServer

/// The command line.
struct NVMeServerCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "nvme-server",
        abstract: "NVMe controllers for vfio-user clients: QEMU, SPDK, and others.",
        discussion: HelpText.discussion,
        version: "0.1.0")

    @Option(
        help: ArgumentHelp(
            "UNIX socket to make, for the clients of a controller, one after the other.",
            discussion: "In a directory it is called cntrl, as SPDK wants it.", valueName: "path"))
    var socket: [Placed<String>] = []

    @Option(
        help: ArgumentHelp(
            "Socket that was handed over: a descriptor's number, or its name in LISTEN_FDNAMES.",
            discussion: """
                It listens, or is connected: then there is this one client. Without --socket and --fd all sockets of \
                systemd's socket activation are used.
                """, valueName: "number"))
    var fd: [Placed<String>] = []

    @Option(
        help: ArgumentHelp(
            "Namespace in memory; K, M, G, T: powers of 1024. Lost at the end.", valueName: "size"))
    var memory: [Placed<Size>] = []

    @Option(
        help: ArgumentHelp("Namespace in a file or block device, which must be there.", valueName: "path"))
    var file: [Placed<String>] = []

    @Option(
        help: ArgumentHelp(
            "Namespace on an NBD server: nbd://host/export, nbd+unix:///export?socket=path.", valueName: "uri"
        ))
    var nbd: [Placed<String>] = []

    @Option(help: ArgumentHelp("Bytes of a logical block: 512 or 4096.", valueName: "bytes"))
    var blockSize = 512

    @Flag(help: "Namespaces cannot be written to.")
    var readOnly = false

    @Option(help: ArgumentHelp("Pairs of I/O queues of each controller, 1 to 64.", valueName: "count"))
    var queues = 16

    @Option(
        help: ArgumentHelp(
            "How doorbells are written: mmap, trap or ioeventfd.",
            discussion: """
                mmap: into a page that the client maps, and the server looks at. trap: by messages. ioeventfd: by \
                eventfds, with the values in shared memory, for clients that know them (QEMU does not).
                """, valueName: "way"))
    var doorbells = DoorbellMode.mmap

    @Flag(
        help: ArgumentHelp(
            "Clients may share only memory that is sealed against shrinking, such as QEMU's memory-backend-memfd.",
            discussion: """
                Otherwise a client that shortens the file of its memory ends the server, with all of its controllers.
                """))
    var sealedMemory = false

    @Flag(exclusivity: .exclusive)
    var waiting = Waiting.event

    @Option(
        help: ArgumentHelp(
            "Whether clients manage I/O address spaces after iommufd: off, auto or require.",
            discussion: "auto: those that offer it. require: the others are refused.", valueName: "mode"))
    var iommufd = AddressSpaces.auto

    @Option(
        help: ArgumentHelp(
            "What the server answers as the IOVA of a mapping, with iommufd: opaque or address.",
            discussion: """
                opaque: a number that tells nothing. address: where the memory is in the server, for devices that \
                need it.
                """, valueName: "source"))
    var iova = AddressSource.opaque

    @Option(
        help: ArgumentHelp(
            "Serial number, up to 20 ASCII characters; once for each controller, in order.", valueName: "text"
        ))
    var serial: [String] = []

    @Option(
        help: ArgumentHelp("Least severe messages: debug, info, notice, warning, error.", valueName: "level"))
    var logLevel = LogChoice.notice

    @Option(help: ArgumentHelp("Seconds between lines of statistics; 0: none.", valueName: "seconds"))
    var stats = 0

    func validate() throws {
        guard blockSize == 512 || blockSize == 4096 else {
            throw ValidationError("--block-size is 512 or 4096")
        }
        guard (1...64).contains(queues) else { throw ValidationError("--queues is 1 to 64") }
        guard (0...86_400).contains(stats) else { throw ValidationError("--stats is 0 to 86400") }
        guard serial.allSatisfy({ $0.utf8.count <= ControllerPlan.longestSerial && $0.allSatisfy(\.isASCII) })
        else { throw ValidationError("--serial is up to 20 ASCII characters") }
        guard iova == .opaque || iommufd != .off else {
            throw ValidationError("--iova address is for --iommufd auto or require")
        }
    }

    func run() throws {
        var logger = Logger(label: "nvme-server") { StreamLogHandler.standardError(label: $0) }
        logger.logLevel = logLevel.level
        do {
            let service = try Service(
                try plans().map { try controller($0, logger) }, polls: waiting == .poll,
                statisticsInterval: stats,
                logger)
            guard try service.run() else { throw ExitCode.failure }
        } catch let error as Errno {
            throw Trouble("\(error)")
        }
    }

    private func plans() throws -> [ControllerPlan] {
        let inherited = InheritedSocket.all()
        var sources = socket.map { $0.map(ClientSource.path) }
        for entry in fd {
            guard let number = InheritedSocket.find(entry.value, among: inherited) else {
                throw Trouble("--fd \(entry.value): neither a number nor a name in LISTEN_FDNAMES")
            }
            sources.append(entry.map { _ in .descriptor(number) })
        }
        let namespaces =
            memory.map { $0.map { .memory($0.bytes) } } + file.map { $0.map(NamespaceSource.file) }
            + nbd.map { $0.map(NamespaceSource.nbd) }
        return try ControllerPlan.plans(
            sources: sources, namespaces: namespaces, serials: serial, inherited: inherited)
    }

    private func controller(_ plan: ControllerPlan, _ logger: Logger) throws -> ServedController {
        var stores: [any BackingStore] = []
        for namespace in plan.namespaces {
            stores.append(try namespace.open(blockSize: blockSize, isReadOnly: readOnly, logger))
        }
        var configuration = ControllerConfiguration()
        configuration.queuePairs = queues
        configuration.vectors = queues + 1
        configuration.serialNumber = plan.serial
        // The client need not ring when the server looks anyway; with a mapped page ringing is free.
        configuration.isPolled = waiting == .poll || doorbells == .mmap
        let device = try NVMeDevice()
        let server = try plan.source.serve(device)
        server.logLevel = logLevel.serverLevel
        server.logHandler = { level, message in
            logger.log(level: level <= .error ? .error : level == .warning ? .warning : .debug, "\(message)")
        }
        server.requiresSealedMemory = sealedMemory
        try server.setIOASPolicy(iommufd.policy, iovas: iova == .address ? .serverAddress : .opaque())
        return try ServedController(
            "\(plan.source)", device, server, configuration, stores, blockSize: blockSize,
            doorbells: doorbells, logger)
    }
}
