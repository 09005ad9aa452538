import CLinux
import Glibc
import SystemPackage
import Testing
import VFIOUserWire

@testable import VFIOUserTransport

/// Messages whose end is made while their beginning is sent.
@Suite struct LongMessageTests {
    /// Two connected sockets.
    private struct Pair: ~Copyable {
        let near: CInt
        let far: CInt

        init() throws {
            var pair: [CInt] = [-1, -1]
            // Two elements, as the call fills.
            let result = unsafe clx_socket_pair(&pair)
            guard result == 0 else { throw Errno(rawValue: -result) }
            near = pair[0]
            far = pair[1]
        }

        deinit {
            _ = close(near)
            _ = close(far)
        }

        func received(_ count: Int) -> [UInt8] {
            var bytes = [UInt8](repeating: 0, count: count)
            // The array's bytes.
            let got = unsafe recv(far, &bytes, count, CInt(MSG_DONTWAIT))
            return Array(bytes[..<max(0, got)])
        }
    }

    private func header(_ id: UInt16) -> MessageHeader {
        MessageHeader(id: id, command: 16, size: 0, flags: .reply)
    }

    /// The bytes of a header with that size.
    private func bytes(_ id: UInt16, size: UInt32) throws -> [UInt8] {
        var header = header(id)
        header.size = size
        var bytes = [UInt8](repeating: 0, count: 16)
        var span = bytes.mutableSpan
        var writer = Writer(&span)
        try header.encode(into: &writer)
        return bytes
    }

    /// One that waits, the long one, what its maker leaves out as zeros, and one behind it.
    @Test func order() throws {
        let pair = try Pair()
        let messages = try OutboundMessages()
        messages.commit(header(1), count: 0)
        var start = try messages.payload(capacity: 4, to: pair.near)
        for place in 0..<4 { start.storeBytes(of: 0xab, toByteOffset: place, as: UInt8.self) }
        messages.commit(header(2), count: 4, followedBy: 6)
        var given: UInt8 = 0
        try messages.stream(6, to: pair.near) { output in
            #expect(output.freeCapacity == 6)
            while given < 4 {
                given += 1
                output.append(given)
            }
        }
        #expect(messages.isEmpty)
        messages.commit(header(3), count: 0)
        try messages.flush(to: pair.near)
        let long: [UInt8] = [0xab, 0xab, 0xab, 0xab, 1, 2, 3, 4, 0, 0]
        #expect(
            try pair.received(1000) == bytes(1, size: 16) + bytes(2, size: 26) + long + bytes(3, size: 16))
    }

    /// A peer that does not read is waited for as long as for anything, and a bit for the length.
    @Test func peerDoesNotRead() throws {
        let pair = try Pair()
        let messages = try OutboundMessages()
        messages.stallLimit = 50
        _ = try messages.payload(capacity: 0, to: pair.near)
        messages.commit(header(1), count: 0, followedBy: 16 << 20)
        var pieces = 0
        #expect(throws: Errno.timedOut) { try messages.stream(16 << 20, to: pair.near) { _ in pieces += 1 } }
        #expect(pieces < 16)
        #expect(messages.isEmpty)
    }

    @Test func peerHasGone() throws {
        let pair = try Pair()
        _ = shutdown(pair.far, CInt(SHUT_RDWR))
        let messages = try OutboundMessages()
        _ = try messages.payload(capacity: 0, to: pair.near)
        messages.commit(header(1), count: 0, followedBy: 16 << 20)
        #expect(throws: Errno.brokenPipe) { try messages.stream(16 << 20, to: pair.near) { _ in } }
        #expect(messages.isEmpty)
    }

    @Test(arguments: [0, 1, 7, 8])
    func filling(_ count: Int) {
        var bytes = [UInt8](repeating: 9, count: 8)
        var span = bytes.mutableSpan
        // Bytes are bytes.
        var raw = unsafe span.mutableBytes
        let given = raw.fill { output in
            for value in 0..<UInt8(count) { output.append(value) }
        }
        #expect(given == count)
        #expect(bytes == Array(0..<UInt8(count)) + [UInt8](repeating: 9, count: 8 - count))
    }
}
