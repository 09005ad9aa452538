import CLinux
import Glibc
import SystemPackage

/// Descriptors and bytes over a UNIX socket, written against the system calls alone.
struct PeerSocket: Sendable {
    let number: CInt

    /// Two connected stream sockets.
    static func pair() throws -> (PeerSocket, PeerSocket) {
        var numbers: [CInt] = [-1, -1]
        // Two elements, as the call wants.
        guard unsafe socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0, &numbers) == 0 else {
            throw Errno(rawValue: errno)
        }
        return (PeerSocket(number: numbers[0]), PeerSocket(number: numbers[1]))
    }

    func shutDown() { _ = shutdown(number, CInt(SHUT_RDWR)) }

    func close() { _ = Glibc.close(number) }

    /// Sends all the bytes, descriptors with the first.
    func send(_ bytes: [UInt8], files: [CInt] = []) throws {
        var sent = 0
        var files = files
        while sent < bytes.count {
            let count = unsafe bytes.withUnsafeBytes { bytes in
                unsafe Self.send(number, UnsafeRawBufferPointer(rebasing: bytes[sent...]), files)
            }
            guard count >= 0 else {
                if errno == EINTR { continue }
                throw Errno(rawValue: errno)
            }
            sent += count
            files = []
        }
    }

    private static func send(_ socket: CInt, _ bytes: UnsafeRawBufferPointer, _ files: [CInt]) -> Int {
        // struct cmsghdr: length, level, type, then the descriptors; CMSG_SPACE is a multiple of 8.
        let length = 16 + 4 * files.count
        var control = [UInt64](repeating: 0, count: (length + 7) / 8)
        return unsafe control.withUnsafeMutableBytes { control in
            unsafe control.storeBytes(of: length, as: Int.self)
            unsafe control.storeBytes(of: SOL_SOCKET, toByteOffset: 8, as: CInt.self)
            unsafe control.storeBytes(of: 1, toByteOffset: 12, as: CInt.self)  // SCM_RIGHTS
            for (index, file) in files.enumerated() {
                unsafe control.storeBytes(of: file, toByteOffset: 16 + 4 * index, as: CInt.self)
            }
            var vector = unsafe iovec(
                iov_base: UnsafeMutableRawPointer(mutating: bytes.baseAddress), iov_len: bytes.count)
            return unsafe withUnsafeMutablePointer(to: &vector) { vector in
                var message = unsafe msghdr()
                unsafe message.msg_iov = vector
                unsafe message.msg_iovlen = 1
                if !files.isEmpty {
                    unsafe message.msg_control = control.baseAddress
                    unsafe message.msg_controllen = control.count
                }
                return unsafe sendmsg(socket, &message, CInt(MSG_NOSIGNAL))
            }
        }
    }

    /// Receives up to `limit` bytes, and the descriptors that came with them. No bytes at the end.
    func receive(limit: Int) throws -> ([UInt8], [CInt]) {
        var bytes = [UInt8](repeating: 0, count: limit)
        var control = [UInt64](repeating: 0, count: 256)
        var controlLength = 0
        let count = unsafe bytes.withUnsafeMutableBytes { bytes in
            unsafe control.withUnsafeMutableBytes { control in
                var vector = unsafe iovec(iov_base: bytes.baseAddress, iov_len: bytes.count)
                return unsafe withUnsafeMutablePointer(to: &vector) { vector in
                    var message = unsafe msghdr()
                    unsafe message.msg_iov = vector
                    unsafe message.msg_iovlen = 1
                    unsafe message.msg_control = control.baseAddress
                    unsafe message.msg_controllen = control.count
                    let count = unsafe recvmsg(number, &message, 0)
                    controlLength = unsafe Int(message.msg_controllen)
                    return count
                }
            }
        }
        guard count >= 0 else { throw Errno(rawValue: errno) }
        var files: [CInt] = []
        if controlLength > 16 {
            unsafe control.withUnsafeBytes { control in
                let length = unsafe control.load(as: Int.self)
                for place in stride(from: 16, to: length, by: 4) {
                    files.append(unsafe control.load(fromByteOffset: place, as: CInt.self))
                }
            }
        }
        return (Array(bytes.prefix(count)), files)
    }
}
