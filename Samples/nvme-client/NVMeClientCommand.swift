internal import ArgumentParser
internal import Glibc
internal import NVMeDriver
internal import SystemPackage
internal import VFIOUserClient

/// The command line.
struct NVMeClientCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "nvme-client",
        abstract: "An NVMe driver for controllers behind a vfio-user socket.",
        discussion: """
            Reads and writes the namespaces of a controller that another process serves, nvme-server for instance, \
            without a virtual machine and without a kernel driver:

              nvme-server --socket /tmp/nvme.sock --memory 1G &
              nvme-client identify /tmp/nvme.sock
              nvme-client verify /tmp/nvme.sock
              nvme-client bench /tmp/nvme.sock --pattern randread --depth 32 --duration 5

            Exit status: 0 done; 1 the server, the controller or a file failed; 2 verify found other data than it \
            expected; 64 the command line makes no sense.
            """,
        subcommands: [Identify.self, Read.self, Write.self, Verify.self, Bench.self])
}

/// What every subcommand needs to reach a controller.
struct ConnectionOptions: ParsableArguments {
    @Argument(help: "The server's UNIX socket; in a directory, it is called cntrl.")
    var socket: String

    @Option(
        help: ArgumentHelp(
            "How memory becomes visible to the controller: legacy, ioas or auto.",
            discussion: """
                legacy: DMA_MAP at addresses the client chooses. ioas: an I/O address space at the server, which \
                chooses the addresses. auto: ioas if the server has it.
                """))
    var mode = Mode.auto

    @Option(help: "Namespace identifier.")
    var namespace: UInt32 = 1

    @Flag(help: "Name data by SGLs instead of PRPs.")
    var sgl = false

    @Flag(help: "Wait for MSI-X interrupts instead of looking for completions all the time.")
    var interrupts = false

    @Flag(help: "Write doorbells by messages, also where they could be mapped.")
    var messageDoorbells = false

    @Option(help: "Seconds the server may take for anything.")
    var timeout: Double = 10

    enum Mode: String, CaseIterable, ExpressibleByArgument {
        case legacy, ioas, auto
    }

    func validate() throws {
        guard timeout > 0, timeout <= 86_400 else { throw ValidationError("--timeout is above 0, to 86400") }
    }

    /// Connects and starts the controller.
    func connect(queues: Int = 1) throws(NVMeError) -> Controller {
        var options = DriverOptions()
        options.memoryMode = MemoryMode(rawValue: mode.rawValue)
        options.usesSGL = sgl
        options.usesInterrupts = interrupts
        options.mapsDoorbells = !messageDoorbells
        options.timeout = .milliseconds(Int64(timeout * 1000))
        options.queueCount = queues
        var status = stat()
        // The call fills the structure.
        let isDirectory = unsafe stat(socket, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
        return try Controller(connectingTo: isDirectory ? "\(socket)/cntrl" : socket, options)
    }
}

/// Says on stderr what went wrong, and ends with the status for it.
func reportingErrors(_ body: () throws -> Void) throws {
    do {
        try body()
    } catch let error as NVMeError {
        throw failure("\(error)")
    } catch let error as FileError {
        throw failure("\(error.path): \(error.errno)")
    }
}

/// An error of a file of ours.
struct FileError: Error {
    let path: String
    let errno: Errno
}

/// Writes a line to stderr.
func complain(_ text: String) {
    let line = "nvme-client: \(text)\n"
    // Nothing can be done if that fails.
    _ = try? FileDescriptor.standardError.writeAll(line.utf8)
}

func failure(_ text: String) -> ExitCode {
    complain(text)
    return .failure
}
