import Glibc
import SystemPackage
import Testing
import VFIOUserWire

@testable import VFIOUserServer

/// What clients can do to bring a server down.
@Suite struct HostileClientTests {
    static let megabyte: UInt32 = 1 << 20
    static let largeRead = encoded(
        RegionAccess(offset: 0, region: RegionIndex.bar2.rawValue, count: megabyte))

    @Test func leavesBehindMoreRepliesThanFit() throws {
        let session = try Session()
        // Two replies fill the memory for them to the last byte; there is nobody to send them to.
        for _ in 0..<3 { try session.peer.request(.regionRead, Self.largeRead) }
        try session.peer.request(.deviceGetInfo, bytes(UInt32(1)))
        session.peer.close()
        _ = try? session.server.poll()
        session.expectDisconnect()
    }

    @Test func refusedWhereAnotherLeftRepliesBehind() throws {
        let path = temporaryPath()
        let server = try TestDevice().server(at: .path(path))
        try server.realize()
        do {
            let peer = try RawPeer(connectingTo: path)
            try peer.request(.version, versionPayload(nil))
            try server.attach()
            _ = try peer.receive()
            for _ in 0..<2 { try peer.request(.regionRead, Self.largeRead) }
        }
        _ = try? server.poll()
        _ = try? server.poll()
        let peer = try RawPeer(connectingTo: path)
        try peer.request(.version, versionPayload(nil, major: 1))
        #expect(throws: Errno.invalidArgument) { try server.attach() }
        #expect(try peer.receive().error == .invalidArgument)
    }

    @Test func requestsInsteadOfTheReply() throws {
        let session = try Session()
        try session.map(0x1000, 0x1000)
        session.device.duringRead = { server throws(Errno) in _ = try server.readClient(0x1000, 16) }
        // More than the memory for messages holds, and each to be refused.
        let junk = repeated(message(200, [UInt8](repeating: 1, count: 1484)), 1600)
        let flood = Background {
            _ = try? session.peer.send(message(.regionRead, bytes(UInt64(0), UInt32(0), UInt32(4))))
            _ = try? session.peer.send(junk)
            session.peer.endSending()
        }
        let reader = Background { session.peer.drain() }
        while (try? session.server.poll()) != nil {}
        flood.join()
        session.peer.hangUp()
        reader.join()
        #expect(!session.server.isAttached)
    }

    @Test func shortReplyOnTheSharedSocket() throws {
        let session = try Session()
        try session.map(0x1000, 0x1000)
        var error: Errno?
        session.device.duringRead = { server throws(Errno) in
            do throws(Errno) { _ = try server.readClient(0x1000, 16) } catch let failure { error = failure }
        }
        try session.peer.request(.regionRead, bytes(UInt64(0), UInt32(0), UInt32(4)))
        try session.peer.send(
            message(.dmaRead, bytes(UInt64(0x1000), UInt64(16)) + [1, 2, 3], id: 1, flags: .isReply))
        _ = try? session.server.poll()
        #expect(error == .socketNotConnected)
        #expect(!session.server.isAttached)
    }
}
