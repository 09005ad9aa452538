import Glibc
import SystemPackage

/// An NBD server on a UNIX socket, which ends with the object.
///
/// Unsafe inside: strings go to C as arrays of pointers that the calls copy.
@safe
final class NBDServer {
    let socket: String
    private(set) var process: pid_t = -1
    private let command: [String]

    var uri: String { "nbd+unix:///?socket=\(socket)" }

    /// nbdkit with these arguments.
    static func nbdkit(_ arguments: [String]) throws -> NBDServer {
        let socket = newSocket()
        return try NBDServer(socket, ["nbdkit", "--foreground", "--unix", socket] + arguments)
    }

    static func nbdkit(_ arguments: String...) throws -> NBDServer { try nbdkit(arguments) }

    /// qemu-nbd of a raw file.
    static func qemu(_ path: String, _ arguments: String...) throws -> NBDServer {
        let socket = newSocket()
        return try NBDServer(
            socket, ["qemu-nbd", "--format=raw", "--persistent", "--socket=\(socket)"] + arguments + [path])
    }

    /// A UNIX socket's path has 107 bytes at most.
    private static func newSocket() -> String { "/tmp/nbd-\(getpid())-\(UInt32.random(in: 0...UInt32.max))" }

    private init(_ socket: String, _ command: [String]) throws {
        self.socket = socket
        self.command = command
        try start()
    }

    /// Starts it, also again, and waits for its socket.
    func start() throws {
        _ = unsafe unlink(socket)
        var arguments = unsafe (["/usr/bin/env"] + command).map { unsafe strdup($0) } + [nil]
        defer { for place in unsafe arguments.indices { unsafe free(arguments[place]) } }
        var environment: [UnsafeMutablePointer<CChar>?] = unsafe [
            strdup("PATH=/usr/sbin:/usr/bin:/sbin:/bin"), nil,
        ]
        defer { unsafe free(environment[0]) }
        guard unsafe posix_spawn(&process, "/usr/bin/env", nil, nil, &arguments, &environment) == 0 else {
            throw Errno(rawValue: errno)
        }
        for _ in 0..<500 {
            if unsafe access(socket, F_OK) == 0 { return }
            usleep(20_000)
        }
        throw Errno.timedOut
    }

    func signal(_ number: CInt) { kill(process, number) }

    func end() {
        guard process > 0 else { return }
        kill(process, SIGKILL)
        _ = waitpid(process, nil, 0)
        process = -1
    }

    deinit {
        end()
        _ = unsafe unlink(socket)
    }
}
