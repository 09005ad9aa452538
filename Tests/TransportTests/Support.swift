import CLinux
import Glibc
import SystemPackage
import VFIOUserSystem
import VFIOUserWire

@testable import VFIOUserTransport

/// Two connected sockets.
final class Pair {
    let ours: OwnedFD
    let theirs: OwnedFD

    init() throws {
        var pair: [2 of CInt] = [-1, -1]
        var span = pair.mutableSpan
        // The call fills both elements.
        _ = try unsafe span.withUnsafeMutableBufferPointer { unsafe clx_socket_pair($0.baseAddress) }
            .orErrno()
        ours = OwnedFD(adopting: pair[0])
        theirs = OwnedFD(adopting: pair[1])
    }

    /// Sends bytes from the other end, in one call.
    func send(_ bytes: [UInt8], _ descriptors: [CInt] = []) throws {
        // The vector covers the bytes for the length of the call.
        let sent = unsafe bytes.withUnsafeBytes { bytes in
            var vector = unsafe iovec(
                iov_base: UnsafeMutableRawPointer(mutating: bytes.baseAddress), iov_len: bytes.count)
            return unsafe clx_send(theirs.number, &vector, 1, descriptors, descriptors.count, 0)
        }
        guard sent == bytes.count else { throw Errno.ioError }
    }

    /// What has arrived at the other end.
    func arrived() -> [UInt8] {
        var all: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            // Room for that many bytes.
            let count = unsafe recv(theirs.number, &buffer, buffer.count, CInt(MSG_DONTWAIT))
            guard count > 0 else { return all }
            all += buffer[..<count]
        }
    }

    func endSending() { _ = shutdown(theirs.number, CInt(SHUT_WR)) }
}

/// A whole message.
func message(_ command: UInt16, _ payload: [UInt8] = [], id: UInt16 = 0, size: UInt32? = nil) -> [UInt8] {
    let size = size ?? UInt32(16 + payload.count)
    let fields: [UInt32] = [UInt32(command) << 16 | UInt32(id), size, 0, 0]
    return fields.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> ($0 * 8)) } } + payload
}

/// An eventfd, to be sent.
func event() throws -> OwnedFD { OwnedFD(adopting: try clx_eventfd(0, 0).orErrno()) }

extension InboundMessages {
    /// The first message, taken out: its id, payload and number of descriptors.
    func next() -> (id: UInt16, payload: [UInt8], files: Int)? {
        guard case .message(let header, let length) = head() else { return nil }
        let span = payload(length: length)
        // Any byte is a valid UInt8.
        let bytes = unsafe span.withUnsafeBytes { unsafe [UInt8]($0) }
        let files = takeDescriptors().count
        consume(length)
        return (header.id, bytes, files)
    }
}
