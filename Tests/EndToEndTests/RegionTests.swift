import CLinux
import Glibc
import SystemPackage
import Testing
import VFIOUserClient
import VFIOUserServer

/// Regions: by messages of every kind, by mapping, by notification.
struct RegionTests {
    private func run(
        _ link: Link = .socketPair, _ options: ClientOptions = .patient,
        setUp: (DeviceServer) throws -> Void = { _ in }, _ body: (Client, EngineDevice) throws -> Void
    ) throws {
        let device = try EngineDevice()
        let host = try Host(device, link) { server in
            try device.configure(server)
            try setUp(server)
        }
        try withClient(of: host, options) { try body($0, device) }
    }

    @Test(arguments: Link.allCases) func readsAndWrites(_ link: Link) throws {
        try run(link) { client, _ in
            try client.write(0x11 as UInt8, to: .bar0, at: 0x1001)
            try client.write(0x3322 as UInt16, to: .bar0, at: 0x1002)
            try client.write(0x7766_5544 as UInt32, to: .bar0, at: 0x1004)
            try client.write(0xffee_ddcc_bbaa_9988 as UInt64, to: .bar0, at: 0x1008)
            #expect(
                try client.read(.bar0, at: 0x1000, count: 16) == (0..<16).map { UInt8($0 * 0x11) })
            #expect(try client.read(.bar0, at: 0x1002) as UInt64 == 0x9988_7766_5544_3322)
            let bytes = [UInt8].pattern(EngineDevice.bufferCount)
            try client.write(bytes, to: .bar1, at: 0)
            #expect(try client.read(.bar1, at: 0, count: bytes.count) == bytes)
        }
    }

    @Test func outsideIsRefused() throws {
        try run { (client, _) throws in
            let end = UInt64(EngineDevice.registerCount)
            #expect(throws: Errno.invalidArgument) { try client.read(.bar0, at: end - 3) as UInt32 }
            #expect(throws: Errno.invalidArgument) { try client.write(1 as UInt8, to: .bar0, at: end) }
            #expect(throws: Errno.invalidArgument) { try client.read(.bar0, at: .max) as UInt8 }
            #expect(throws: Errno.invalidArgument) { try client.read(.bar5, at: 0) as UInt8 }
            #expect(throws: Errno.invalidArgument) { try client.read(9, at: 0) as UInt8 }
            #expect(throws: Errno.invalidArgument) { try client.regionInfo(9) }
            #expect(try client.read(.bar0, at: end - 4) as UInt32 == 0)
        }
    }

    @Test func configurationSpace() throws {
        try run { client, _ in
            #expect(try client.read(.config, at: 0) as UInt32 == 0x1110_1af4)
            #expect(try client.regionInfo(.config).size == 4096)
            try client.write(UInt32.max, to: .config, at: 0x10)
            #expect(try client.read(.config, at: 0x10) as UInt32 == 0xffff_0000)
        }
    }

    @Test(arguments: Link.allCases) func sparseAreas(_ link: Link) throws {
        try run(link) { client, _ in
            let info = try client.regionInfo(.bar2)
            #expect(info.size == UInt64(EngineDevice.sharedCount))
            #expect(
                info.areas == [
                    Client.MappableRange(offset: 0x1000, size: 0x1000),
                    Client.MappableRange(offset: 0x4000, size: 0x2000),
                ])
            let (first, second) = (try MappedRegion(info), try client.mapRegion(.bar2, area: 1))
            #expect(throws: Errno.noSuchAddressOrDevice) { try MappedRegion(info, area: 2) }
            // Both ways lead to the same bytes.
            try first.store(0x1122_3344 as UInt32, at: 0x1ffc)
            #expect(try client.read(.bar2, at: 0x1ffc) as UInt32 == 0x1122_3344)
            try client.write(0x5566_7788 as UInt32, to: .bar2, at: 0x5ffc)
            #expect(try second.load(at: 0x5ffc) as UInt32 == 0x5566_7788)
            let doorbell = try second.doorbell(at: 0x4000)
            doorbell.ring(7)
            #expect(try client.read(.bar2, at: 0x4000) as UInt32 == 7)
            // What lies between is reached by messages alone.
            #expect(throws: Errno.invalidArgument) { try first.load(at: 0x2000) as UInt32 }
            #expect(throws: Errno.invalidArgument) { try second.store(1 as UInt8, at: 0x3fff) }
            try client.write(9 as UInt8, to: .bar2, at: 0x3fff)
            #expect(try client.read(.bar2, at: 0x3fff) as UInt8 == 9)
            // Nothing else can be mapped.
            #expect(try client.regionInfo(.bar0).areas.isEmpty)
            #expect(throws: Errno.noSuchAddressOrDevice) { try client.mapRegion(.bar0) }
        }
    }

    /// Requests in flight together are carried out in order, failing ones among them.
    @Test(arguments: Link.allCases) func pipelining(_ link: Link) throws {
        try run(link) { client, _ in
            var requests: [Client.Request] = []
            for index in 0..<500 {
                requests.append(.write(UInt32(index), to: .bar0, at: 0x1000 + UInt64(index % 3) * 4))
                requests.append(.read(.bar0, at: 0x1000 + UInt64(index % 3) * 4, count: 4))
                if index % 50 == 0 { requests.append(.read(.bar5, at: 0, count: 1)) }
            }
            let replies = try client.pipeline(requests)
            #expect(replies.count == requests.count)
            var values: [UInt32] = []
            for reply in replies where reply.command == 9 {
                if reply.error == nil { values.append(UInt32(bytes: try reply.regionData())) }
            }
            #expect(values == (0..<500).map { $0 })
            #expect(replies.count { $0.error == .invalidArgument } == 10)
        }
    }

    @Test func longPipelines() throws {
        try run { client, _ in
            // Together more than any socket holds, either way.
            let bytes = [UInt8].pattern(1 << 20)
            let writes = (0..<8).map { _ in Client.Request.write(bytes, to: .bar1, at: 0) }
            let reads = (0..<8).map { _ in Client.Request.read(.bar1, at: 0, count: 1 << 20) }
            let replies = try client.pipeline(writes + reads)
            for reply in replies.suffix(8) { #expect(try reply.regionData() == bytes) }
        }
    }

    @Test func postedWrites() throws {
        try run { client, _ in
            for value in 0..<1000 as Range<UInt32> { try client.post(value, to: .bar0, at: 0x2000) }
            // One that fails is not heard of, nor does it disturb.
            try client.post(1 as UInt8, to: .bar5, at: 0)
            #expect(try client.read(.bar0, at: 0x2000) as UInt32 == 999)
        }
    }

    @Test func writeMultiple() throws {
        var options = ClientOptions.patient
        options.wantsWriteMultiple = true
        try run(.socketPair, options) { client, _ in
            let writes = [
                Client.RegionWrite(1 as UInt8, to: .bar0, at: 0x1000),
                Client.RegionWrite(0x0302 as UInt16, to: .bar0, at: 0x1001),
                Client.RegionWrite(0x0605_0407 as UInt32, to: .bar1, at: 0x10),
                Client.RegionWrite(UInt64.max, to: .bar2, at: 0x20),
            ]
            #expect(try client.write(writes) == 4)
            #expect(try client.read(.bar0, at: 0x1000, count: 4) == [1, 2, 3, 0])
            #expect(try client.read(.bar1, at: 0x10) as UInt32 == 0x0605_0407)
            #expect(try client.read(.bar2, at: 0x20) as UInt64 == .max)
            try client.post([Client.RegionWrite(5 as UInt8, to: .bar0, at: 0x1003)])
            #expect(try client.read(.bar0, at: 0x1003) as UInt8 == 5)
        }
    }

    // MARK: Notifications

    @Test(arguments: Link.allCases) func ioDescriptors(_ link: Link) throws {
        let (plain, shadow) = (try InterruptListener(), try InterruptListener())
        let values = try DMAMemory(count: 4096)
        guard let file = values.file else { throw Errno.badFileDescriptor }
        try run(
            link,
            setUp: { server in
                try server.addIOEventFD(
                    IOEventFD(
                        file: plain.descriptor.rawValue, offset: EngineDevice.Register.notified, size: 4,
                        flags: 1, match: 7), to: .bar0)
                try server.addIOEventFD(
                    IOEventFD(
                        file: shadow.descriptor.rawValue, offset: EngineDevice.Register.shadowed, size: 4,
                        shadowFile: file.descriptor.rawValue, shadowOffset: 0x20), to: .bar0)
            }
        ) { client, _ in
            let entries = try client.regionIOFDs(.bar0).sorted { $0.offset < $1.offset }
            try #require(entries.count == 2)
            #expect(entries[0].kind == .ioEventFD)
            #expect(entries[0].offset == EngineDevice.Register.notified)
            #expect(entries[0].size == 4)
            #expect(entries[0].dataMatch == 7)
            try entries[0].signal()
            #expect(try plain.take() == 1)

            #expect(entries[1].kind == .shadowIOEventFD)
            try entries[1].mapShadow().store(0xabcd as UInt32, at: 0)
            try entries[1].signal()
            #expect(try shadow.take() == 1)
            #expect(try values.load(at: 0x20) as UInt32 == 0xabcd)

            #expect(try client.regionIOFDs(.bar1).isEmpty)
        }
    }
}
