import CLinux
import Glibc
import SystemPackage
import Testing
import VFIOUserTestSupport
import VFIOUserTransport
import VFIOUserWire

@testable import VFIOUserServer

/// What is left of clients, and what they can make the server use. In processes of their own, where nothing else opens
/// descriptors or takes memory.
@Suite struct LeakTests {
    /// A server at a path that takes one client after the other.
    final class House {
        let device = TestDevice()
        let server: DeviceServer
        let path = temporaryPath()

        init() throws {
            server = try device.server(at: .path(path))
            try server.realize()
        }

        /// Lets the server work until it has nothing to do.
        func work() {
            for _ in 0..<1000 {
                do throws(Errno) {
                    if server.isAttached {
                        if try server.poll() == 0 { return }
                    } else {
                        try server.attach(grace: 0)
                    }
                } catch .wouldBlock { return } catch {}
            }
        }

        /// Whether a client is served from beginning to end.
        func serves() throws -> Bool {
            let peer = try RawPeer(connectingTo: path)
            try peer.request(.version, versionPayload(nil))
            work()
            guard try peer.receive().error == nil else { return false }
            try peer.request(.deviceGetInfo, encoded(DeviceInfo()))
            work()
            guard try peer.receive().error == nil else { return false }
            peer.close()
            work()
            return !server.isAttached
        }
    }

    /// Leaves after each byte of a session with mappings, eventfds and replies with descriptors.
    @Test func disconnectAtEveryByte() async {
        await #expect(processExitsWith: .success) {
            let house = try House()
            let script = try IntakeTests.Script { try .memory(8) }
            let version = message(.version, versionPayload(twinCapabilities))
            let messages = [(bytes: version, files: 0)] + script.messages
            let total = messages.map(\.bytes.count).reduce(0, +)
            let served = try house.serves()
            #expect(served)
            let before = openDescriptorCount()
            var leaking: [Int] = []
            for place in 0...total {
                let peer = try RawPeer(connectingTo: house.path)
                var left = place
                for (bytes, files) in messages where left > 0 {
                    let part = Array(bytes.prefix(left))
                    try peer.send(part, script.files(files))
                    left -= part.count
                    if place % 3 == 0 { house.work() }
                }
                house.device.quiesceAnswers = []
                peer.close()
                house.work()
                #expect(!house.server.isAttached, "after \(place) bytes")
                // Slow to find out.
                if place % 7 == 0 || place == total { #expect(mappingCount() == 0, "after \(place) bytes") }
                if openDescriptorCount() != before { leaking.append(place) }
            }
            #expect(leaking.isEmpty, "after \(leaking) bytes")
            let still = try house.serves()
            #expect(still)
            house.server.close()
        }
    }

    /// The same with a quiesce under way whenever one is asked for.
    @Test func disconnectDuringDeferredQuiesce() async {
        await #expect(processExitsWith: .success) {
            let house = try House()
            let script = try IntakeTests.Script { try .memory(8) }
            let messages =
                [(bytes: message(.version, versionPayload(twinCapabilities)), files: 0)] + script.messages
            let served = try house.serves()
            #expect(served)
            let before = openDescriptorCount()
            for place in 1...messages.count {
                house.device.quiesceAnswers = Array(repeating: .success(.pending), count: 100)
                let peer = try RawPeer(connectingTo: house.path)
                for (bytes, files) in messages.prefix(place) { try peer.send(bytes, script.files(files)) }
                house.work()
                peer.close()
                var steps = 0
                while house.server.isAttached, steps < 100 {
                    steps += 1
                    house.work()
                    if house.server.isQuiescing {
                        try? house.server.quiesced(error: steps % 5 == 4 ? .ioError : nil)
                    }
                }
                #expect(!house.server.isAttached, "after \(place) messages")
                #expect(mappingCount() == 0, "after \(place) messages")
                let after = openDescriptorCount()
                #expect(after == before, "after \(place) messages")
            }
        }
    }

    /// No client makes the server use more memory than its two streams of messages may take.
    @Test(.disabled(if: isSanitized, "sanitizers keep memory"))
    func memoryIsBounded() async {
        await #expect(processExitsWith: .success) {
            let house = try House()
            _ = try house.serves()
            // What the attacks are made of.
            let filler = [UInt8](repeating: 0x20, count: 1 << 20)
            let objects =
                Array("[".utf8) + repeated(Array("{},".utf8), 2700)
                + Array("1]".utf8)
            let nested = repeated(Array(#"{"a":"#.utf8), 1600)
            let keys = (0..<800).flatMap { Array("\"k\($0)\":1,".utf8) }
            let write = encoded(RegionWriteMulti.Write(offset: 0, region: 0, count: 8, data: 1))
            let many = repeated(write, 43_000)
            let attacks: [(name: String, version: [UInt8]?, requests: [[UInt8]])] = [
                ("large VERSION", bytes(UInt16(0), UInt16(2)) + filler.dropLast() + [0], []),
                ("many objects", bytes(UInt16(0), UInt16(2)) + objects + [0], []),
                ("nested", bytes(UInt16(0), UInt16(2)) + nested + [0], []),
                (
                    "many keys",
                    bytes(UInt16(0), UInt16(2)) + Array(#"{"capabilities":{"#.utf8) + keys
                        + Array(#""x":1}}"#.utf8) + [0], []
                ),
                (
                    "large write", nil,
                    [message(.regionWrite, bytes(UInt64(0), UInt32(7), UInt32(1 << 20)) + filler)]
                ),
                ("half a large message", nil, [message(9, filler.dropLast(100), size: 1_048_608)]),
                (
                    "large reads", nil,
                    (0..<3).map { _ in message(.regionRead, bytes(UInt64(0), UInt32(7), UInt32(1 << 20))) }
                ),
                (
                    "interrupts", nil,
                    [
                        message(
                            .deviceSetIRQs,
                            encoded(
                                SetIRQs(flags: [.dataEventFD, .trigger], index: 2, start: 0, count: .max)))
                    ]
                ),
                (
                    "io fds", nil,
                    [message(.deviceGetRegionIOFDs, encoded(RegionIOFDs(index: 0, argsz: 1 << 20)))]
                ),
                ("many writes", nil, [message(.regionWriteMulti, bytes(UInt64(43_000)) + many)]),
                ("more writes than there are", nil, [message(.regionWriteMulti, bytes(UInt64.max))]),
                ("unknown", nil, [message(200, filler)]),
                ("small ones", nil, [repeated(message(.deviceGetInfo), 20_000)]),
            ]
            for attack in attacks {
                forgetPeak()
                let before = residentByteCount()
                let peer = try RawPeer(connectingTo: house.path)
                let isSent = Locked(false)
                let client = Background {
                    defer { isSent.withLock { $0 = true } }
                    let version =
                        attack.version ?? versionPayload(#"{"capabilities":{"write_multiple":true}}"#)
                    guard (try? peer.send(message(.version, version))) != nil else { return }
                    for request in attack.requests {
                        guard (try? peer.send(request)) != nil else { return }
                    }
                    peer.endSending()
                }
                let reader = Background { peer.drain() }
                let begin = milliseconds()
                // All is sent, and then all of that client is gone.
                while !isSent.withLock({ $0 }) || house.server.isAttached || house.server.candidate != nil {
                    house.work()
                    guard milliseconds() - begin < 30_000 else { break }
                }
                client.join()
                house.work()
                reader.join()
                let grown = peakByteCount() - before
                // Both streams' memory whole, and something for the test itself.
                #expect(grown < 5 << 20, "\(attack.name): \(grown >> 10) KiB")
            }
            let still = try house.serves()
            #expect(still)
        }
    }

    /// Many clients in turn leave no memory behind.
    @Test(.disabled(if: isSanitized, "sanitizers keep memory"))
    func nothingGrows() async {
        await #expect(processExitsWith: .success) {
            let house = try House()
            let script = try IntakeTests.Script { try .memory(8) }
            var sizes: [Int] = []
            for _ in 0..<4 {
                for _ in 0..<250 {
                    let peer = try RawPeer(connectingTo: house.path)
                    try peer.send(message(.version, versionPayload(twinCapabilities)))
                    for (bytes, files) in script.messages { try peer.send(bytes, script.files(files)) }
                    house.work()
                    peer.close()
                    house.work()
                    house.device.events = []
                }
                sizes.append(residentByteCount())
            }
            #expect(sizes[3] - sizes[1] < 256 << 10)
        }
    }

    // MARK: No descriptors left

    /// Allows no descriptor beyond those open, or lifts that again.
    static func limitDescriptors(_ isLimited: Bool) {
        var limit = rlimit()
        // The structure is the call's to fill, and then whole.
        _ = unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        // Numbers above the first are in use or too large; a poll of one descriptor still works.
        limit.rlim_cur = isLimited ? 1 : limit.rlim_max
        _ = unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }

    /// Descriptors that the process has no room for: the request is lost, the service is not.
    @Test func noRoomForReceivedDescriptors() async {
        await #expect(processExitsWith: .success) {
            let session = try Session()
            let file = try File.memory(0x1000)
            LeakTests.limitDescriptors(true)
            try session.peer.request(
                .dmaMap, encoded(DMAMap(flags: .read, offset: 0, address: 0, size: 0x1000)), [file])
            #expect(throws: Errno.badAddress) { try session.server.poll() }
            LeakTests.limitDescriptors(false)
            #expect(session.peer.isQuiet)
            #expect(session.server.isAttached && session.device.events.isEmpty)
            try session.succeed(.deviceGetInfo, encoded(DeviceInfo()))
        }
    }

    @Test func noRoomInServe() async {
        await #expect(processExitsWith: .success) {
            let path = temporaryPath()
            let server = try TestDevice().server(at: .path(path), waiting: .blocking)
            let listening = server.listener.pollNumber
            let service = Background { try? server.serve() }
            let file = try File.memory(0x1000)
            do {
                let peer = try RawPeer(connectingTo: path)
                try peer.request(.version, versionPayload(nil))
                _ = try peer.receive()
                LeakTests.limitDescriptors(true)
                try peer.request(
                    .dmaMap, encoded(DMAMap(flags: .read, offset: 0, address: 0, size: 0x1000)), [file])
                pause(100)
                LeakTests.limitDescriptors(false)
            }
            let next = try RawPeer(connectingTo: path)
            try next.request(.version, versionPayload(nil))
            #expect(try next.receive().error == nil)
            next.close()
            _ = shutdown(listening, CInt(SHUT_RDWR))
            service.join()
        }
    }

    @Test func noRoomInEventLoop() async {
        await #expect(processExitsWith: .success) {
            let host = try EventLoopTests.Host(servers: 2)
            let good = try host.connect(1)
            try host.work()
            _ = try good.receive()
            let peer = try host.connect(0)
            LeakTests.limitDescriptors(true)
            for _ in 0..<5 { _ = try host.loop.runOnce(timeout: 0) }
            #expect(!host.servers[0].isAttached)
            try good.request(.deviceGetInfo, encoded(DeviceInfo()))
            _ = try host.loop.runOnce(timeout: 0)
            #expect(try good.receive().error == nil)
            LeakTests.limitDescriptors(false)
            try host.work()
            #expect(try peer.receive().error == nil)
        }
    }

    /// Interrupts whose descriptor is the end of a broken pipe do not end the process.
    @Test func brokenPipeForEventFD() async {
        await #expect(processExitsWith: .success) {
            let session = try Session()
            for isSocket in [false, true] {
                let request = encoded(SetIRQs(flags: [.dataEventFD, .trigger], index: 2, start: 0, count: 1))
                do {
                    let (_, broken) = isSocket ? try File.socketPair() : try File.pipe()
                    _ = try session.call(.deviceSetIRQs, request, [broken])
                }
                _ = try session.call(
                    .deviceSetIRQs,
                    encoded(SetIRQs(flags: [.dataNone, .trigger], index: 2, start: 0, count: 1)))
                try? session.server.triggerInterrupt(0)
            }
        }
    }
}
