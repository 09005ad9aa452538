internal import CNVMeSystem
internal import Glibc
internal import VFIOUserServer

/// A socket of socket activation (systemd's LISTEN_FDS).
struct InheritedSocket {
    let number: Int32
    let name: String

    /// Those that were handed to this process.
    static func all() -> [InheritedSocket] {
        guard environment("LISTEN_PID").flatMap({ Int32($0) }) == getpid(),
            let count = environment("LISTEN_FDS").flatMap({ Int32($0) }), count >= 1, count <= 1024
        else { return [] }
        let names =
            environment("LISTEN_FDNAMES")?.split(separator: ":", omittingEmptySubsequences: false) ?? []
        // They are numbered from 3 on.
        return (0..<count).map { index in
            InheritedSocket(number: 3 + index, name: index < names.count ? String(names[Int(index)]) : "")
        }
    }

    /// A descriptor by its number, or by the name that the service manager gave it.
    static func find(_ text: String, among inherited: [InheritedSocket]) -> Int32? {
        if let number = Int32(text), number >= 0 { return number }
        return inherited.first { $0.name == text }?.number
    }

    private static func environment(_ name: String) -> String? {
        // A string of the environment, copied at once.
        unsafe getenv(name).map { unsafe String(cString: $0) }
    }
}

extension ClientSource {
    /// Makes a server whose clients come from here.
    func serve(_ device: any Device) throws -> DeviceServer {
        switch self {
        case .path(let path): try Self.listen(at: path, device)
        case .descriptor(let number): try Self.adopt(number, device)
        }
    }

    private static func listen(at path: String, _ device: any Device) throws -> DeviceServer {
        var status = stat()
        // The call fills the structure.
        let isDirectory = unsafe stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
        let path = isDirectory ? "\(path)/cntrl" : path
        guard path.utf8.count <= 107 else {
            throw Trouble("\(path): the path of a UNIX socket has at most 107 bytes: choose a shorter one")
        }
        let parent = path.lastIndex(of: "/").map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        // Between the look whether a socket is anybody's and its replacement no other server may come.
        let lock = DirectoryLock(parent)
        try removeAbandoned(path)
        do {
            let server = try DeviceServer(device, at: .path(path), waiting: .polling)
            withExtendedLifetime(lock) {}
            return server
        } catch .addressInUse {
            throw Trouble("\(path): a file of this name is in the way: remove it, or choose another path")
        } catch .noSuchFileOrDirectory {
            throw Trouble("\(path): there is no such directory; make it with: mkdir -p \(parent)")
        } catch .permissionDenied {
            throw Trouble("\(path): no permission to make a socket there: choose another directory")
        } catch {
            throw Trouble("\(path): cannot listen there: \(error)")
        }
    }

    /// Removes a socket that a server has left behind when it was killed: one that nobody listens on.
    private static func removeAbandoned(_ path: String) throws(Trouble) {
        var status = stat()
        // The call fills the structure.
        guard unsafe lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFSOCK else { return }
        switch unsafe -nvmesys_unix_probe(path) {
        case ECONNREFUSED: _ = unsafe unlink(path)
        case 0, EAGAIN:
            throw Trouble("\(path): another process listens there: end it, or choose another path")
        case let error:
            throw Trouble(
                "\(path): a socket that cannot be examined is in the way: \(Errno(rawValue: error))")
        }
    }

    private static func adopt(_ number: Int32, _ device: any Device) throws -> DeviceServer {
        let descriptor = FileDescriptor(rawValue: number)
        let kind = nvmesys_socket_kind(number)
        switch -kind {
        case EBADF:
            throw Trouble("--fd \(number): no such descriptor: whoever starts the server must leave it open")
        case ENOTSOCK: throw Trouble("--fd \(number): not a socket")
        case EAFNOSUPPORT, EPROTOTYPE: throw Trouble("--fd \(number): not a UNIX stream socket")
        case ENOTCONN: throw Trouble("--fd \(number): the socket neither listens nor is it connected")
        default: break
        }
        let isListening = kind == CInt(NVMESYS_LISTENING)
        return try DeviceServer(
            device, at: isListening ? .listening(descriptor) : .connected(descriptor), waiting: .polling)
    }
}

/// Keeps other servers from replacing sockets in a directory; none if it cannot be opened.
private struct DirectoryLock: ~Copyable {
    private let directory: CInt

    init(_ path: String) {
        directory = unsafe open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        if directory >= 0 { _ = flock(directory, LOCK_EX) }
    }

    deinit { if directory >= 0 { _ = close(directory) } }
}
