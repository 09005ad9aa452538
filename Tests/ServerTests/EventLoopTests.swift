import CLinux
import Glibc
import SystemPackage
import Testing
import VFIOUserTransport
import VFIOUserWire

@testable import VFIOUserServer

/// Several servers on one thread.
@Suite struct EventLoopTests {
    /// Servers at paths, and the loop that runs them.
    final class Host {
        let loop: EventLoop
        var devices: [TestDevice] = []
        var servers: [DeviceServer] = []
        var paths: [String] = []

        init(servers count: Int) throws {
            loop = try EventLoop()
            for _ in 0..<count {
                let device = TestDevice()
                let path = temporaryPath()
                let server = try device.server(at: .path(path))
                try server.realize()
                try loop.add(server)
                devices.append(device)
                servers.append(server)
                paths.append(path)
            }
        }

        /// Lets the loop work until there is nothing to do.
        func work() throws {
            while try loop.runOnce(timeout: 0) {}
        }

        func connect(_ number: Int, _ capabilities: String? = nil) throws -> RawPeer {
            let peer = try RawPeer(connectingTo: paths[number])
            try peer.request(.version, versionPayload(capabilities))
            return peer
        }
    }

    static let info = encoded(DeviceInfo())

    static func expectService(_ peer: RawPeer, _ host: Host, _ note: Comment) throws {
        let id = try peer.request(.deviceGetInfo, info)
        try host.work()
        #expect(!peer.isQuiet, note)
        #expect(try peer.receive().header.id == id, note)
    }

    @Test func servesAll() throws {
        let host = try Host(servers: 4)
        let peers = try (0..<4).map { try host.connect($0) }
        try host.work()
        for peer in peers { #expect(try peer.receive().error == nil) }
        for round in 0..<10 {
            for peer in peers { try Self.expectService(peer, host, "round \(round)") }
            for peer in peers { try peer.request(.deviceReset) }
            try host.work()
            for peer in peers { #expect(try peer.receive().error == nil) }
        }
        #expect(host.devices.allSatisfy { $0.events.count == 20 })
    }

    /// Descriptors' numbers wander from server to server when all clients leave and others come.
    @Test func numbersReused() throws {
        let host = try Host(servers: 5)
        var peers = try (0..<5).map { try host.connect($0) }
        try host.work()
        for peer in peers { _ = try peer.receive() }
        var random = SeededGenerator(seed: 11)
        for round in 0..<60 {
            // Some leave, and in the same moment somebody comes to the others: first everyone's departure is seen.
            let leaving = (0..<5).filter { _ in Bool.random(using: &random) }
            for number in leaving { peers[number].close() }
            if Bool.random(using: &random) { try host.work() }
            for number in leaving.shuffled(using: &random) { peers[number] = try host.connect(number) }
            try host.work()
            for number in leaving {
                #expect(!peers[number].isQuiet, "round \(round)")
                #expect(try peers[number].receive().error == nil, "round \(round)")
            }
            for peer in peers { try Self.expectService(peer, host, "round \(round)") }
        }
    }

    /// The same for a descriptor of the program: its number was a client's a moment ago.
    @Test func numberReusedByProgram() throws {
        let host = try Host(servers: 1)
        var calls = 0
        for _ in 0..<5 {
            let peer = try host.connect(0)
            try host.work()
            _ = try peer.receive()
            peer.close()
            // Seen outside of the loop, which watches that number still.
            #expect(throws: Errno.socketNotConnected) { try host.servers[0].poll() }
            let events = try File.event()
            let watched = FileDescriptor(rawValue: events.number)
            try host.loop.add(watched) {
                calls += 1
                _ = events.events()
            }
            try host.work()
            var one: UInt64 = 1
            // Eight bytes, as an eventfd wants.
            _ = unsafe write(events.number, &one, 8)
            try host.work()
            host.loop.remove(watched)
        }
        #expect(calls == 5)
    }

    /// Clients that are refused, silent, or gone: the loop goes on, at once.
    @Test func badClients() throws {
        let host = try Host(servers: 2)
        let good = try host.connect(1)
        try host.work()
        _ = try good.receive()
        let begin = milliseconds()
        for round in 0..<60 {
            do {
                let gone = try host.connect(0)
                gone.close()
            }
            try host.work()
            let refused = try RawPeer(connectingTo: host.paths[0])
            try refused.request(.version, versionPayload(nil, major: 3))
            try host.work()
            #expect(try refused.receive().error == .invalidArgument)
            let silent = try RawPeer(connectingTo: host.paths[0])
            try host.work()
            try silent.send([1, 0, 1])
            try host.work()
            try Self.expectService(good, host, "round \(round)")
            silent.close()
            try host.work()
        }
        // Nobody was waited for.
        #expect(milliseconds() - begin < 5500)
        let next = try host.connect(0)
        try host.work()
        #expect(try next.receive().error == nil)
        try Self.expectService(next, host, "after bad ones")
    }

    /// A silent client's place and number are taken by another one.
    @Test func silentOnesInTurn() throws {
        let host = try Host(servers: 1)
        for _ in 0..<5 {
            let silent = try RawPeer(connectingTo: host.paths[0])
            try host.work()
            silent.close()
            let other = try RawPeer(connectingTo: host.paths[0])
            try host.work()
            try other.request(.version, versionPayload(nil))
            try host.work()
            #expect(try other.receive().error == nil)
            try Self.expectService(other, host, "after a silent one")
            other.close()
            try host.work()
        }
    }

    /// A client that does not read its replies is given up; others wait no longer than that.
    @Test func stalledClient() throws {
        let host = try Host(servers: 2)
        host.servers[0].outbound.stallLimit = 300
        let stalled = try host.connect(0)
        let good = try host.connect(1)
        try host.work()
        _ = try stalled.receive()
        _ = try good.receive()
        let begin = milliseconds()
        for _ in 0..<3 { try stalled.request(.regionRead, bytes(UInt64(0), UInt32(2), UInt32(1 << 20))) }
        try host.work()
        #expect(milliseconds() - begin >= 300)
        #expect(!host.servers[0].isAttached)
        #expect(host.devices[0].events.last == .reset(.lostConnection))
        try Self.expectService(good, host, "beside a stalled one")
        let next = try host.connect(0)
        try host.work()
        #expect(try next.receive().error == nil)
    }

    /// While a device quiesces its socket is left alone, and taken up again later.
    @Test func deferredQuiesce() throws {
        let host = try Host(servers: 2)
        let peers = try (0..<2).map { try host.connect($0) }
        try host.work()
        for peer in peers { _ = try peer.receive() }
        host.devices[0].quiesceAnswers = [.success(.pending), .success(.pending)]
        try peers[0].request(.deviceReset)
        try host.work()
        try peers[0].request(.deviceGetInfo, Self.info)
        // Readable all the time, and no reason to wake up.
        #expect(try !host.loop.runOnce(timeout: 0))
        try Self.expectService(peers[1], host, "beside one that quiesces")
        try host.servers[0].quiesced()
        #expect(try peers[0].receive().header.command == Command.deviceReset.rawValue)
        try host.work()
        #expect(try peers[0].receive().header.command == Command.deviceGetInfo.rawValue)
        // The same when the client has gone.
        peers[0].close()
        try host.work()
        #expect(host.servers[0].isQuiescing && host.servers[0].isAttached)
        #expect(try !host.loop.runOnce(timeout: 0))
        try host.servers[0].quiesced()
        let next = try host.connect(0)
        try host.work()
        #expect(try next.receive().error == nil)
        try Self.expectService(next, host, "after a deferred removal")
    }

    /// A device that asks for client memory on its own: requests that cross the question are not forgotten.
    @Test func crossingRequests() throws {
        let host = try Host(servers: 1)
        let peer = try host.connect(0)
        try host.work()
        _ = try peer.receive()
        try peer.request(.dmaMap, encoded(DMAMap(flags: .read, offset: 0, address: 0, size: 0x1000)))
        try host.work()
        _ = try peer.receive()
        var got: [UInt8] = []
        let timer = try File.event()
        try host.loop.add(FileDescriptor(rawValue: timer.number)) { [server = host.servers[0]] in
            _ = timer.events()
            got = (try? server.readClient(0, 2)) ?? []
        }
        // Only the timer's event is there when the loop looks.
        var one: UInt64 = 1
        // Eight bytes, as an eventfd wants.
        _ = unsafe write(timer.number, &one, 8)
        let client = Background {
            pause(30)
            _ = try? peer.request(.deviceGetInfo, Self.info)
            _ = try? peer.send(dmaReadReply(id: 1, 0, [7, 8]))
        }
        #expect(try host.loop.runOnce(timeout: 1000))
        client.join()
        #expect(got == [7, 8])
        #expect(try host.loop.runOnce(timeout: 0))
        #expect(try peer.receive().header.command == Command.dmaRead.rawValue)
        #expect(try peer.receive().header.command == Command.deviceGetInfo.rawValue)
    }

    @Test func stops() throws {
        let host = try Host(servers: 1)
        let loop = host.loop
        // Before it runs, from a handler, and from another thread.
        loop.stop()
        try loop.run()
        let event = try File.event()
        try loop.add(FileDescriptor(rawValue: event.number)) { loop.stop() }
        var one: UInt64 = 1
        // Eight bytes, as an eventfd wants.
        _ = unsafe write(event.number, &one, 8)
        try loop.run()
        loop.remove(FileDescriptor(rawValue: event.number))
        let other = Background {
            pause(30)
            loop.stop()
        }
        try loop.run()
        other.join()
    }

    @Test func removed() throws {
        let host = try Host(servers: 2)
        let peers = try (0..<2).map { try host.connect($0) }
        try host.work()
        for peer in peers { _ = try peer.receive() }
        host.loop.remove(host.servers[0])
        try peers[0].request(.deviceGetInfo, Self.info)
        try Self.expectService(peers[1], host, "not removed")
        #expect(peers[0].isQuiet && host.servers[0].isAttached)
        try host.loop.add(host.servers[0])
        try host.work()
        #expect(try peers[0].receive().error == nil)
    }

    /// A reply that cannot be sent costs that client its connection, not the others theirs.
    @Test func uselessConnection() throws {
        let host = try Host(servers: 2)
        try host.servers[0].setRegion(
            .bar3, Region(size: 4096, flags: [.readWrite, .memory], file: FileDescriptor(rawValue: 99_999)))
        let peers = try (0..<2).map { try host.connect($0) }
        try host.work()
        for peer in peers { _ = try peer.receive() }
        try peers[0].request(.deviceGetRegionInfo, encoded(RegionInfo(index: 3, argsz: 64)))
        try host.work()
        #expect(!host.servers[0].isAttached && peers[0].isClosed)
        try Self.expectService(peers[1], host, "beside a useless connection")
    }
}
