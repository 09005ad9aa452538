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
        process = try spawn(command)
        for _ in 0..<500 {
            if try isListening() { return }
            usleep(20_000)
        }
        throw Errno.timedOut
    }

    private func isListening() throws -> Bool {
        let file = try FileDescriptor.open(FilePath("/proc/net/unix"), .readOnly)
        var text: [UInt8] = []
        try file.closeAfter {
            var part = [UInt8](repeating: 0, count: 65_536)
            while true {
                let count = try unsafe part.withUnsafeMutableBytes { unsafe try file.read(into: $0) }
                if count == 0 { break }
                text += part[..<count]
            }
        }
        // Flags: __SO_ACCEPTCON.
        return String(decoding: text, as: UTF8.self).split(separator: "\n").contains {
            $0.hasSuffix(socket) && $0.contains(" 00010000 ")
        }
    }

    /// Stops it, and waits until it has.
    func pause() {
        kill(process, SIGSTOP)
        _ = waitpid(process, nil, WUNTRACED)
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
