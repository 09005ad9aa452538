import SystemPackage
import Testing
import VFIOUserClient

/// Servers that send anything: a call may fail, but it returns, and the process lives.
struct HostileServerTests {
    /// A small generator, so that a seed names a test run.
    struct Random: RandomNumberGenerator {
        var state: UInt64
        mutating func next() -> UInt64 {
            state &+= 0x9e37_79b9_7f4a_7c15
            var z = state
            z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
            z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
            return z ^ (z >> 31)
        }
    }

    /// Answers a message with some that are nearly right, and one that is a reply at least, so that nobody
    /// waits long.
    private static func attack(_ server: FakeServer, _ random: inout Random, probe: CInt) throws {
        let request = try server.receive()
        for file in request.files { FileDescriptor(rawValue: file).closeQuietly() }
        for _ in 0..<Int.random(in: 0...2, using: &random) {
            var payload = Bool.random(using: &random) ? request.payload : []
            let extra = Int.random(in: 0...64, using: &random)
            payload += (0..<extra).map { _ in UInt8.random(in: 0...255, using: &random) }
            for _ in 0..<Int.random(in: 0...3, using: &random) where !payload.isEmpty {
                let place = Int.random(in: 0..<min(payload.count, 64), using: &random)
                payload[place] =
                    [0, 1, 0x7f, 0x80, 0xff, UInt8.random(in: 0...255, using: &random)]
                    .randomElement(using: &random) ?? 0
            }
            let command =
                [request.command, 11, 12, UInt16.random(in: 0...30, using: &random)]
                .randomElement(using: &random) ?? 0
            let flags: UInt32 =
                [1, 1, 1, 0x21, 0, 0x10, UInt32.random(in: 0...63, using: &random)]
                .randomElement(using: &random) ?? 1
            let id = Int.random(in: 0...5, using: &random) == 0 ? request.id &+ 1 : request.id
            var size = UInt32(16 + payload.count)
            if Int.random(in: 0...30, using: &random) == 0 {
                size = UInt32.random(in: 0...size, using: &random)
            }
            let files = [CInt](repeating: probe, count: Int.random(in: 0...2, using: &random))
            try server.send(
                bytes(id, command, size, flags, UInt32.random(in: 0...200, using: &random)) + payload,
                files: files)
        }
        try server.send(id: request.id, command: request.command, flags: 1, request.payload)
    }

    /// Every call there is.
    private static func calls() -> [(Client, borrowing DMAMemory) throws -> Void] {
        [
            { client, _ in _ = try client.deviceInfo() },
            { client, _ in
                let region = try client.regionInfo(.bar0)
                let mapped = try MappedRegion(region)
                // Memory that has no file behind it may not be touched, so only what can be refused is tried.
                #expect(throws: Errno.self) {
                    try mapped.load(at: mapped.start &+ UInt64(mapped.count), as: UInt32.self)
                }
            },
            { client, _ in for entry in try client.regionIOFDs(.bar0) { _ = try? entry.mapShadow() } },
            { client, _ in _ = try client.interruptInfo(.msix) },
            { client, _ in try client.setInterrupts(.msix, [InterruptListener()]) },
            { client, _ in _ = try client.read(.bar0, at: 0, as: UInt64.self) },
            { client, _ in _ = try client.read(.config, at: 0, count: 256) },
            { client, _ in try client.write(.pattern(100), to: .bar0, at: 0) },
            { client, memory in try client.map(memory, at: 0) },
            { client, _ in try client.unmap(0, size: 4096) },
            { client, _ in _ = try client.unmapReportingDirty(0, size: 4096, pageSize: 4096).dirtyPages },
            { client, _ in try client.unmapAll() },
            { client, _ in try client.reset() },
            { client, _ in _ = try client.migrationState() },
            { client, _ in try client.setMigrationState(.stop) },
            { client, _ in try client.startDMALogging(pageSize: 4096) },
            { client, _ in _ = try client.dirtyPages(0, size: 1 << 20, pageSize: 4096).dirtyPages },
            { client, _ in _ = try client.readMigrationData(upTo: 100) },
            { client, _ in try client.writeMigrationData([1]) },
            { client, _ in try client.write([Client.RegionWrite(1 as UInt8, to: .bar0, at: 0)]) },
            { client, _ in _ = try client.pipeline([.deviceInfo, .reset]) },
            { client, _ in _ = try client.serveOne(timeout: .zero) },
            { client, _ in
                try client.send(.deviceInfo)
                _ = try client.receive()
            },
        ]
    }

    @Test(arguments: 0..<100 as Range<UInt64>) func anything(_ number: UInt64) throws {
        let seed = number &* 7919 &+ UInt64.random(in: 0...1000) << 32
        let probe = try ClosedProbe()
        do {
            try FakeServer.run(text: #"{"capabilities":{"write_multiple":true}}"#) { server in
                var random = Random(state: seed)
                while (try? Self.attack(server, &random, probe: probe.writer)) != nil {}
                probe.closeOwn()
            } client: { client in
                try client.setTimeout(.milliseconds(250))
                let memory = try DMAMemory(count: 4096)
                var random = Random(state: seed)
                let calls = Self.calls()
                for _ in 0..<20 {
                    guard let call = calls.randomElement(using: &random) else { continue }
                    do {
                        try call(client, memory)
                    } catch let error as Errno where error == .socketNotConnected {
                        break
                    } catch {
                        // What it fails with is the other tests' concern.
                    }
                }
            }
        } catch {
            Issue.record("seed \(seed): \(error)")
        }
        // Nothing that was received is left open.
        #expect(probe.isClosedEverywhere(), "seed \(seed)")
    }
}
