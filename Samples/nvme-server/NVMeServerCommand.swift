internal import ArgumentParser
internal import CNVMeSystem
internal import Glibc
internal import Logging
internal import NVMeController
internal import NVMePCI
internal import NVMeStores
internal import VFIOUserServer

/// The command line.
struct NVMeServerCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "nvme-server",
        abstract: "An NVMe controller for vfio-user clients: QEMU, SPDK, and others.")

    enum LogChoice: String, CaseIterable, ExpressibleByArgument {
        case debug, info, notice, warning, error
        var level: Logger.Level {
            switch self {
            case .debug: .debug
            case .info: .info
            case .notice: .notice
            case .warning: .warning
            case .error: .error
            }
        }
        var serverLevel: LogLevel {
            switch self {
            case .debug: .debug
            case .info: .info
            case .notice: .notice
            case .warning: .warning
            case .error: .error
            }
        }
    }

    @Option(help: "UNIX socket to listen on; in a directory, its name is cntrl.")
    var socket: String?

    @Option(
        name: .customLong("fd"), help: "Listening socket to take over (or LISTEN_FDS of the environment).")
    var listening: Int32?

    @Option(help: "Namespace in memory, of this size (K, M, G, T). Repeatable.")
    var memory: [Size] = []

    @Option(help: "Namespace in this file or block device. Repeatable; after those in memory.")
    var file: [String] = []

    @Option(help: "Bytes of a logical block: 512 or 4096.")
    var blockSize = 512

    @Option(help: "Pairs of I/O queues: 1 to 64.")
    var queues = 16

    @Flag(help: "Namespaces cannot be written to.")
    var readOnly = false

    @Option(help: "How doorbells are written: mmap, trap or ioeventfd.")
    var doorbells = DoorbellMode.mmap

    @Flag(
        inversion: .prefixedNo, help: "Use a processor all the time (--poll), or wait while nothing happens.")
    var poll = false

    @Flag(help: "Wait while nothing happens. The default; the opposite of --poll.")
    var event = false

    @Option(help: "Serial number, up to 20 characters.")
    var serial = "VFIOUSER0001"

    @Option(help: "Least severe messages to log: debug, info, notice, warning, error.")
    var logLevel = LogChoice.notice

    @Option(help: "Seconds between lines of statistics; 0: none.")
    var stats = 0

    func validate() throws {
        guard blockSize == 512 || blockSize == 4096 else {
            throw ValidationError("--block-size is 512 or 4096")
        }
        guard (1...64).contains(queues) else { throw ValidationError("--queues is 1 to 64") }
        guard !memory.isEmpty || !file.isEmpty else {
            throw ValidationError("there must be a namespace: --memory SIZE or --file PATH")
        }
        guard !(poll && event) else { throw ValidationError("--poll and --event exclude each other") }
        guard (0...86_400).contains(stats) else { throw ValidationError("--stats is 0 to 86400") }
        guard serial.utf8.count <= 20 else { throw ValidationError("--serial is up to 20 characters") }
    }

    func run() throws {
        var logger = Logger(label: "nvme-server") { StreamLogHandler.standardError(label: $0) }
        logger.logLevel = logLevel.level
        do {
            try serve(logger)
        } catch let error as Errno {
            logger.error("\(error)")
            throw ExitCode.failure
        }
    }

    private func serve(_ logger: Logger) throws {
        var stores: [any BackingStore] = []
        for size in memory { stores.append(try MemoryStore(byteCount: size.bytes, isReadOnly: readOnly)) }
        for path in file {
            do {
                stores.append(try FileStore(path: path, isReadOnly: readOnly))
            } catch {
                logger.error("\(path): \(error)")
                throw ExitCode.failure
            }
        }
        for store in stores where store.byteCount < UInt64(blockSize) {
            logger.error("a namespace is smaller than one block")
            throw ExitCode.failure
        }
        var configuration = ControllerConfiguration()
        configuration.queuePairs = queues
        configuration.vectors = queues + 1
        configuration.serialNumber = serial
        // The client need not ring when the server looks anyway; with a mapped page ringing is free.
        configuration.isPolled = poll || doorbells == .mmap

        let device = try NVMeDevice()
        let server = try DeviceServer(device, at: try endpoint(), waiting: .polling)
        server.logLevel = logLevel.serverLevel
        server.logHandler = { level, message in
            logger.log(level: level <= .error ? .error : level == .warning ? .warning : .debug, "\(message)")
        }
        var notifier: FileDescriptor?
        if doorbells == .ioeventfd {
            let number = nvmesys_eventfd()
            guard number >= 0 else { throw Errno(rawValue: -number) }
            notifier = FileDescriptor(rawValue: number)
        }
        let controller = try device.setUp(
            on: server, configuration, stores: stores, blockSize: blockSize, doorbellMode: doorbells,
            notifier: notifier)
        try server.realize()
        let service = try Service(
            device, server, controller, stores, logger: logger, mustLook: doorbells == .mmap, polls: poll,
            notifier: notifier, statisticsInterval: stats)
        try service.run()
    }

    private func endpoint() throws -> Endpoint {
        if let listening { return .listening(FileDescriptor(rawValue: listening)) }
        if let socket {
            var status = stat()
            // The call fills the structure.
            let isDirectory = unsafe stat(socket, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
            return .path(isDirectory ? "\(socket)/cntrl" : socket)
        }
        // systemd's protocol: descriptors from 3 on, for this process.
        if environment("LISTEN_PID").flatMap({ Int32($0) }) == getpid(),
            let count = environment("LISTEN_FDS").flatMap({ Int($0) }), count >= 1
        {
            return .listening(FileDescriptor(rawValue: 3))
        }
        throw ValidationError("there must be a socket: --socket PATH, --fd N, or LISTEN_FDS")
    }

    private func environment(_ name: String) -> String? {
        // A string of the environment, copied at once.
        unsafe getenv(name).map { unsafe String(cString: $0) }
    }
}

extension DoorbellMode: ExpressibleByArgument {}

/// A number of bytes: digits, and K, M, G or T for powers of 1024.
struct Size: ExpressibleByArgument {
    let bytes: UInt64

    init?(argument: String) {
        let units: [Character: UInt64] = ["K": 10, "M": 20, "G": 30, "T": 40]
        var text = Substring(argument)
        var shift: UInt64 = 0
        if let last = text.last, let unit = units[Character(last.uppercased())] {
            shift = unit
            text.removeLast()
        }
        guard let number = UInt64(text), number > 0, number <= UInt64(Int.max) >> shift else { return nil }
        bytes = number << shift
    }
}
