import Foundation
import Glibc
import Synchronization
import SystemPackage

/// An NBD server that answers when its test says so, with the old handshake, on a UNIX socket. One connection.
///
/// Unsafe inside: system calls on memory that lives as long as each call.
@safe
final class NBDHand {
    /// What the export can, as in the protocol; the first says that the others count.
    static let (flags, canFlush, canTrim): (UInt16, UInt16, UInt16) = (1, 4, 32)
    static let (write, flush, trim): (UInt16, UInt16, UInt16) = (1, 3, 4)

    struct Request {
        let type: UInt16
        let cookie: UInt64
        let offset: UInt64
        let byteCount: UInt64
    }

    /// What has come and is not answered.
    private(set) var requests: [Request] = []
    var uri: String { "nbd+unix:///?socket=\(path)" }
    private let path = "/tmp/nbd-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
    private let listener: CInt
    private let connection = Accepted()
    private var received: [UInt8] = []
    /// Bytes of the payload that are still to come.
    private var payload = 0

    private final class Accepted: Sendable {
        let descriptor = Mutex<CInt>(-1)
    }

    /// - Parameter abilities: `flags` and what else.
    init(byteCount: UInt64, _ abilities: UInt16) throws {
        self.listener = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: path.utf8) }
        let result = unsafe withUnsafePointer(to: &address) {
            unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe bind(self.listener, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard result == 0, listen(self.listener, 1) == 0 else { throw Errno(rawValue: errno) }
        let greeting =
            Array("NBDMAGIC".utf8) + Self.bytes(0x0000_4202_8186_1253 as UInt64)
            + Self.bytes(byteCount) + [0, 0] + Self.bytes(abilities) + [UInt8](repeating: 0, count: 124)
        let (listener, connection) = (listener, connection)
        Thread.detachNewThread {
            let accepted = accept(listener, nil, nil)
            connection.descriptor.withLock { $0 = accepted }
            _ = unsafe Glibc.send(accepted, greeting, greeting.count, CInt(MSG_NOSIGNAL))
        }
    }

    private static func bytes<Value: FixedWidthInteger>(_ value: Value) -> [UInt8] {
        stride(from: Value.bitWidth - 8, through: 0, by: -8).map { UInt8(truncatingIfNeeded: value >> $0) }
    }

    private static func value<Value: FixedWidthInteger>(_ bytes: ArraySlice<UInt8>) -> Value {
        bytes.reduce(0) { $0 << 8 | Value($1) }
    }

    /// Takes what has come, without waiting.
    func receive() {
        let descriptor = connection.descriptor.withLock { $0 }
        var part = [UInt8](repeating: 0, count: 1 << 20)
        while true {
            let count = unsafe recv(descriptor, &part, part.count, CInt(MSG_DONTWAIT))
            guard count > 0 else { break }
            received += part[..<count]
            parse()
        }
    }

    private func parse() {
        var place = 0
        while true {
            let skipped = min(payload, received.count - place)
            place += skipped
            payload -= skipped
            guard payload == 0, received.count - place >= 28 else { break }
            let header = received[place..<place + 28]
            let start = place
            let request = Request(
                type: Self.value(header[start + 6..<start + 8]),
                cookie: Self.value(header[start + 8..<start + 16]),
                offset: Self.value(header[start + 16..<start + 24]),
                byteCount: Self.value(header[start + 24..<start + 28]))
            requests.append(request)
            place += 28
            if request.type == Self.write { payload = Int(request.byteCount) }
        }
        received.removeFirst(place)
    }

    /// The answer to the oldest request.
    func takeAnswer(error: UInt32 = 0) -> [UInt8] {
        Self.bytes(0x6744_6698 as UInt32) + Self.bytes(error) + Self.bytes(requests.removeFirst().cookie)
    }

    func send(_ bytes: some Collection<UInt8>) {
        let bytes = Array(bytes)
        let descriptor = connection.descriptor.withLock { $0 }
        _ = unsafe Glibc.send(descriptor, bytes, bytes.count, CInt(MSG_NOSIGNAL))
    }

    /// Goes away.
    func end() {
        connection.descriptor.withLock {
            if $0 >= 0 { _ = close($0) }
            $0 = -1
        }
    }

    deinit {
        end()
        _ = close(listener)
        _ = unsafe unlink(path)
    }
}
