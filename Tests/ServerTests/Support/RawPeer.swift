import CLinux
import Glibc
import SystemPackage
import VFIOUserWire

/// A message as the peer got it.
struct Received {
    var header: MessageHeader
    var payload: [UInt8]
    var files: [File]

    /// The errno of an error reply; nil for anything else.
    var error: Errno? {
        header.flags.contains(.error) ? Errno(rawValue: CInt(truncatingIfNeeded: header.errorNumber)) : nil
    }

    /// Header and payload again.
    var message: [UInt8] { encoded(header) + payload }
}

/// The client's end of a connection, played by hand: it sends any bytes with any descriptors.
final class RawPeer {
    private(set) var socket: File?
    private var nextID: UInt16 = 0x100

    /// - Parameter patience: milliseconds to wait for a message before it counts as missing.
    init(_ socket: File, patience: Int = 120_000) {
        self.socket = socket
        setPatience(patience)
    }

    /// One end of a new connection, and the other end for a server to own.
    static func pair() throws(Errno) -> (RawPeer, FileDescriptor) {
        let (ours, theirs) = try File.socketPair()
        return (RawPeer(ours), FileDescriptor(rawValue: dup(theirs)))
    }

    /// Connects to a path.
    convenience init(connectingTo path: String) throws(Errno) {
        self.init(File(adopting: try check(unsafe clx_unix_connect(path))))
    }

    private func setPatience(_ patience: Int) {
        var limit = timeval(tv_sec: patience / 1000, tv_usec: patience % 1000 * 1000)
        // The option's value is a whole, initialised timeval of that size.
        _ = unsafe setsockopt(
            number, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    }

    var number: CInt { socket?.number ?? -1 }

    /// Closes the socket. The server sees the end at once, even while a process that another test is starting has
    /// a copy of it.
    func close() {
        hangUp()
        socket = nil
    }

    /// The same to the server, while another thread may still use the socket.
    func hangUp() {
        if number >= 0 { _ = shutdown(number, CInt(SHUT_RDWR)) }
    }

    /// Ends the sending side only.
    func endSending() { _ = shutdown(number, CInt(SHUT_WR)) }

    /// Sends all bytes, with the descriptors on the first of them.
    func send(_ bytes: [UInt8], _ files: [File] = []) throws(Errno) {
        let numbers = files.map(\.number)
        var sent = 0
        while sent < bytes.count {
            let count = try sendOnce(bytes[sent...], sent == 0 ? numbers : [], flags: 0)
            sent += count
        }
    }

    /// One sendmsg.
    func sendOnce(_ bytes: ArraySlice<UInt8>, _ numbers: [CInt], flags: CInt) throws(Errno) -> Int {
        // The vector covers the slice for the length of the call.
        let result = unsafe bytes.withUnsafeBytes { bytes in
            var vector = unsafe iovec(
                iov_base: UnsafeMutableRawPointer(mutating: bytes.baseAddress), iov_len: bytes.count)
            return unsafe clx_send(number, &vector, 1, numbers, numbers.count, flags)
        }
        guard result >= 0 else { throw Errno(rawValue: CInt(-result)) }
        return result
    }

    /// The next message.
    ///
    /// - Throws: `ENOMSG` the server has closed, `ECONNRESET` within a message, `ETIMEDOUT` nothing came.
    func receive() throws(Errno) -> Received {
        var files: [File] = []
        let head = try receive(16, &files)
        let header = try decoded(MessageHeader.self, head)
        let payload = try receive(max(0, Int(header.size) - 16), &files)
        return Received(header: header, payload: payload, files: files)
    }

    /// So many bytes, and what descriptors came with them.
    func receive(_ count: Int, _ files: inout [File]) throws(Errno) -> [UInt8] {
        var buffer = [UInt8](repeating: 0, count: count)
        var scratch = [CInt](repeating: -1, count: Int(CLX_MAX_FDS))
        var done = 0
        while done < count {
            // Room for the rest of the bytes and for as many descriptors as can come.
            let received = unsafe buffer.withUnsafeMutableBytes { buffer in
                unsafe clx_receive(
                    number, buffer.baseAddress.map { unsafe $0 + done }, count - done, 0, &scratch)
            }
            guard received.count != -Int(EAGAIN) else { throw .timedOut }
            guard received.count >= 0 else { throw Errno(rawValue: CInt(-received.count)) }
            guard received.count > 0 else { throw done == 0 ? .noMessage : .connectionReset }
            files += scratch[..<Int(received.fd_count)].map { File(adopting: $0) }
            done += received.count
        }
        return buffer
    }

    /// Takes and forgets all that comes, until the server closes.
    func drain() {
        var files: [File] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        var scratch = [CInt](repeating: -1, count: Int(CLX_MAX_FDS))
        while true {
            // Room for that many bytes, and for as many descriptors as can come.
            let received = unsafe buffer.withUnsafeMutableBytes { buffer in
                unsafe clx_receive(number, buffer.baseAddress, buffer.count, 0, &scratch)
            }
            guard received.count > 0 else { return }
            files += scratch[..<Int(received.fd_count)].map { File(adopting: $0) }
        }
    }

    /// Whether the server has sent nothing, and is still there.
    var isQuiet: Bool {
        var byte: UInt8 = 0
        // One byte, not taken.
        return unsafe recv(number, &byte, 1, CInt(MSG_PEEK | MSG_DONTWAIT)) < 0
            && errno == EAGAIN
    }

    /// Whether the server has closed and nothing it sent before is left.
    var isClosed: Bool {
        var byte: UInt8 = 0
        // One byte, not taken.
        return unsafe recv(number, &byte, 1, CInt(MSG_PEEK | MSG_DONTWAIT)) == 0
            || errno == ECONNRESET
    }

    /// Sends a request and returns its id.
    @discardableResult
    func request(
        _ command: Command, _ payload: [UInt8] = [], _ files: [File] = [], flags: UInt32 = 0
    ) throws(Errno) -> UInt16 {
        nextID &+= 1
        try send(message(command, payload, id: nextID, flags: flags), files)
        return nextID
    }
}
