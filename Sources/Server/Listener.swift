internal import CLinux
internal import Glibc
internal import SystemPackage
internal import VFIOUserSystem

/// Where clients come from.
final class Listener {
    /// A listening socket, or a client connected from the start; `nil` for standard input and output, and once no
    /// further client can come.
    private var socket: OwnedFD?
    private let isListening: Bool
    /// The path to remove in the end, if the listener made it.
    private let path: String?
    let isSocket: Bool

    init(_ endpoint: Endpoint, isNonblocking: Bool) throws(Errno) {
        var path: String?
        switch endpoint {
        case .path(let name):
            // A Swift string goes to C as its bytes and a NUL.
            let number = try unsafe clx_unix_listen(name, 0, isNonblocking ? 1 : 0).orErrno()
            socket = OwnedFD(adopting: number)
            isListening = true
            isSocket = true
            if !name.isEmpty { path = name }
        case .listening(let descriptor):
            try Self.setNonblocking(descriptor.rawValue, isNonblocking)
            socket = OwnedFD(adopting: descriptor.rawValue)
            isListening = true
            isSocket = true
        case .connected(let descriptor):
            // Messages say for each call whether they wait.
            try Self.setNonblocking(descriptor.rawValue, false)
            socket = OwnedFD(adopting: descriptor.rawValue)
            isListening = false
            isSocket = true
        case .standardInputAndOutput:
            socket = nil
            isListening = false
            isSocket = false
        }
        self.path = path
    }

    private static func setNonblocking(_ fd: CInt, _ isNonblocking: Bool) throws(Errno) {
        let flags = try clx_fcntl(fd, F_GETFL, 0).orErrno()
        _ = try clx_fcntl(fd, F_SETFL, isNonblocking ? flags | O_NONBLOCK : flags & ~O_NONBLOCK).orErrno()
    }

    /// The descriptor that becomes readable when a client comes; -1 if there is none.
    var pollNumber: CInt { socket?.number ?? -1 }

    /// Takes the next client.
    ///
    /// - Throws: `EAGAIN` none waits (non-blocking), `ENOTCONN` there will be none, others of `accept`.
    func accept() throws(Errno) -> OwnedFD {
        if isListening {
            guard let number = socket?.number else { throw .socketNotConnected }
            do throws(Errno) {
                return OwnedFD(adopting: try clx_accept(number).orErrno())
            } catch .invalidArgument {
                // It does not listen (any more): not to be taken for a client that is refused.
                close()
                throw .socketNotConnected
            }
        }
        guard let client = socket.take() else { throw .socketNotConnected }
        return client
    }

    /// Takes no more clients, and removes the path.
    func close() {
        guard socket.take() != nil, let path else { return }
        _ = unsafe unlink(path)
    }

    deinit { close() }
}
