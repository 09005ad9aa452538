import Glibc
import SystemPackage
import Testing
import VFIOUserWire

@testable import VFIOUserServer

/// DMA_MAP and DMA_UNMAP through the server, and what the device then reaches.
@Suite struct DMAMapTests {
    static func map(
        _ address: UInt64, _ size: UInt64, _ flags: DMAMap.Flags = [.read, .write], offset: UInt64 = 0
    ) -> [UInt8] {
        encoded(DMAMap(flags: flags, offset: offset, address: address, size: size))
    }

    @Test func modes() throws {
        let session = try Session()
        let file = try File.memory(0x4000)
        var regions: [DMARegion] = []
        session.device.duringAdd = { region, _ in regions.append(region) }
        try session.map(0x1000, 0x1000, file)
        try session.map(0x2000, 0x1000, file, flags: [.read, .write, .fileIO], offset: 0x1000)
        try session.map(0x3000, 0x1000, file, flags: [.read, .mmap], offset: 0x2000)
        try session.map(0x4000, 0x1000, flags: .read)
        #expect(regions.map(\.isMapped) == [true, false, true, false])
        #expect(regions.map(\.isWritable) == [true, true, false, false])
        #expect(regions.map(\.isReadable) == [true, true, true, true])

        // Across mappings of different modes, adjacent to each other.
        file.put(Array(1...16), at: 0xff8)
        #expect(try session.server.readClient(0x1ff8, 16) == Array(1...16))
        try session.server.writeClient(0x1ffc, [99, 98, 97, 96, 95, 94])
        #expect(file.contents(at: 0xffc, count: 6) == [99, 98, 97, 96, 95, 94])
        #expect(throws: Errno.permissionDenied) { try session.server.writeClient(0x3000, [1]) }
        #expect(throws: Errno.noSuchFileOrDirectory) { try session.server.readClient(0x4fff, 2) }
        #expect(throws: Errno.noSuchFileOrDirectory) { try session.server.readClient(0xfff, 2) }
    }

    /// A device's view: pieces, and the mappings they lie in.
    @Test func wholeMappings() throws {
        let session = try Session()
        let file = try File.memory(0x4000)
        try session.map(0x1000, 0x2000, file)
        try session.map(0x3000, 0x1000, file, flags: .read, offset: 0x3000)
        let memory = session.server.clientMemory
        let piece = try memory.piece(at: 0x2ff8, count: 4, for: .readWrite)
        let whole = try memory.mapping(of: piece)
        #expect((whole.address, whole.count, whole.isWritable) == (0x1000, 0x2000, true))
        let places = try [whole, piece].map { UInt(bitPattern: try unsafe memory.address(of: $0)) }
        #expect(places[0] != 0 && places[1] == places[0] + 0x1ff8)
        let other = try memory.mapping(of: memory.piece(at: 0x3000, count: 1, for: .read))
        #expect((other.address, other.count, other.isWritable) == (0x3000, 0x1000, false))
        try session.unmap(0x1000, 0x2000)
        #expect(throws: Errno.invalidArgument) { try memory.mapping(of: piece) }
    }

    @Test func unmaps() throws {
        let session = try Session()
        let file = try File.memory(0x4000, name: "unmaps")
        for number in [3, 1, 2] as [UInt64] { try session.map(number << 12, 0x1000, file) }
        #expect(mappingCount(of: "unmaps") == 3)
        _ = session.device.takeEvents()
        var seen: [[UInt8]] = []
        file.put([1, 2], at: 0)
        session.device.duringRemove = { region, server in
            // It works until the device has been told.
            seen.append((try? server.readClient(region.address, 2)) ?? [])
        }
        let request = encoded(DMAUnmap(address: 0x2000, size: 0x1000, argsz: 99))
        #expect(try session.succeed(.dmaUnmap, request) == request)
        #expect(session.device.takeEvents() == [.quiesce, .removed(0x2000, 0x1000)])
        #expect(seen == [[1, 2]])
        #expect(mappingCount(of: "unmaps") == 2)
        #expect(throws: Errno.noSuchFileOrDirectory) { try session.server.readClient(0x2000, 1) }

        for wrong in [
            DMAUnmap(address: 0x2000, size: 0x1000), DMAUnmap(address: 0x1000, size: 0x800),
            DMAUnmap(address: 0x1800, size: 0x800), DMAUnmap(address: 0x1000, size: 0x3000),
            DMAUnmap(address: 0, size: 0), DMAUnmap(address: .max, size: .max),
        ] {
            try session.fail(.noSuchFileOrDirectory, .dmaUnmap, encoded(wrong))
        }
        for wrong in [
            DMAUnmap(flags: .all, address: 1, size: 0), DMAUnmap(flags: .all, address: 0, size: 1),
            DMAUnmap(flags: [.all, .getDirtyBitmap], address: 0, size: 0),
            DMAUnmap(flags: DMAUnmap.Flags(rawValue: 4), address: 0x1000, size: 0x1000),
            DMAUnmap(address: 0x1000, size: 0x1000, argsz: 23),
            DMAUnmap(address: 0x1000, size: 0x1000, argsz: (1 << 20) + 1),
        ] {
            try session.fail(.invalidArgument, .dmaUnmap, encoded(wrong))
        }
        #expect(session.device.takeEvents().allSatisfy { $0 == .quiesce })

        #expect(try session.succeed(.dmaUnmap, encoded(DMAUnmap.everything)) == encoded(DMAUnmap.everything))
        #expect(
            session.device.takeEvents() == [.quiesce, .removed(0x1000, 0x1000), .removed(0x3000, 0x1000)])
        #expect(mappingCount(of: "unmaps") == 0)
        try session.succeed(.dmaUnmap, encoded(DMAUnmap.everything))
        #expect(session.device.takeEvents() == [.quiesce])
    }

    /// What is refused leaves nothing behind: no mapping, no callback, no descriptor.
    @Test(
        arguments: [
            ("overlap", map(0x1800, 0x1000), .invalidArgument),
            ("inside", map(0x1100, 0x100), .invalidArgument),
            ("around", map(0, 0x10000), .invalidArgument),
            ("other offset", map(0x1000, 0x1000, offset: 0x1000), .invalidArgument),
            ("other rights", map(0x1000, 0x1000, .read), .invalidArgument),
            ("other file", map(0x1000, 0x1000), .invalidArgument),
            ("no bytes", map(0x8000, 0), .invalidArgument), ("wraps", map(.max, 2), .invalidArgument),
            ("wraps far", map(0x8000, .max), .noSpace), ("too large", map(0x8000, (1 << 43) + 1), .noSpace),
            ("flags", map(0x8000, 0x1000, DMAMap.Flags(rawValue: 16)), .invalidArgument),
            ("both modes", map(0x8000, 0x1000, [.mmap, .fileIO]), .invalidArgument),
            ("argsz", bytes(UInt32(31)) + map(0x8000, 0x1000).dropFirst(4), .invalidArgument),
            ("a pipe", map(0x8000, 0x1000), .permissionDenied),
        ] as [(String, [UInt8], Errno)])
    func refused(name: String, request: [UInt8], error: Errno) throws {
        let session = try Session()
        try session.map(0x1000, 0x1000, .memory(0x1000))
        _ = session.device.takeEvents()
        // The writing end of a pipe: no file that can be mapped, and one that tells when it is closed.
        let watch = try File.Watch()
        let reply = try session.call(.dmaMap, request, [watch.takeFile()])
        #expect(reply.error == error || (name == "a pipe" && reply.error == .operationNotSupportedByDevice))
        #expect(watch.isClosed)
        #expect(session.device.takeEvents() == [.quiesce])
        #expect(throws: Errno.noSuchFileOrDirectory) { try session.server.readClient(0x8000, 1) }
    }

    @Test func modesWithoutDescriptor() throws {
        let session = try Session()
        try session.fail(.invalidArgument, .dmaMap, Self.map(0, 0x1000, [.read, .mmap]))
        try session.fail(.invalidArgument, .dmaMap, Self.map(0, 0x1000, [.read, .fileIO]))
    }

    /// The same mapping again is fine, and the device hears of it again.
    @Test func repeated() throws {
        let session = try Session()
        let file = try File.memory(0x1000)
        try session.map(0x1000, 0x1000, file)
        try session.map(0x1000, 0x1000, file)
        try session.map(0x1000, 0x1000, file, flags: [.read, .write, .mmap])
        #expect(session.device.events.count { $0 == .added(0x1000, 0x1000) } == 3)
        try session.unmap(0x1000, 0x1000)
        #expect(throws: Errno.noSuchFileOrDirectory) { try session.server.readClient(0x1000, 1) }
    }

    /// Only the first descriptor counts; the others are closed.
    @Test func furtherDescriptors() throws {
        let session = try Session()
        let watch = try File.Watch()
        try session.succeed(.dmaMap, Self.map(0, 0x1000), [.memory(0x1000), watch.takeFile()])
        #expect(watch.isClosed)
        #expect(try session.server.readClient(0, 1) == [0])
    }

    /// Descriptors with requests that take none are closed, and do no harm.
    @Test func strayDescriptors() throws {
        let session = try Session()
        try session.map(0, 0x1000)
        for (command, payload) in [
            (.deviceGetInfo, encoded(DeviceInfo())), (.dmaUnmap, encoded(DMAUnmap(address: 0, size: 0x1000))),
            (.deviceReset, []), (.regionRead, bytes(UInt64(0), UInt32(0), UInt32(4))),
        ] as [(Command, [UInt8])] {
            let watch = try File.Watch()
            try session.succeed(command, payload, [watch.takeFile()])
            #expect(watch.isClosed)
        }
        // As many as one message can carry.
        let (watch, file) = (try File.Watch(), try File.event())
        let files = [watch.takeFile()] + [File](repeating: file, count: 252)
        try session.peer.request(.deviceGetInfo, encoded(DeviceInfo()), files)
        #expect(try session.server.poll() == 1)
        #expect(try session.peer.receive().error == nil)
    }

    @Test func limit() throws {
        let session = try Session()
        for number in 0..<16 as Range<UInt64> { try session.map(number << 12, 0x1000) }
        try session.fail(.invalidArgument, .dmaMap, Self.map(0x100000, 0x1000))
        try session.unmap(0, 0x1000)
        try session.map(0x100000, 0x1000)
    }

    @Test func withoutDMA() throws {
        let (peer, theirs) = try RawPeer.pair()
        let device = TestDevice()
        let server = try DeviceServer(
            device, at: .connected(theirs), waiting: .polling)
        try server.realize()
        try peer.request(.version, versionPayload(nil))
        try server.attach()
        _ = try peer.receive()
        let watch = try File.Watch()
        try peer.request(.dmaMap, [1], [watch.takeFile()])
        try peer.request(.dmaUnmap, [1, 2, 3])
        #expect(try server.poll() > 0)
        _ = try server.poll()
        for _ in 0..<2 {
            let reply = try peer.receive()
            #expect(reply.error == nil && reply.payload.isEmpty)
        }
        #expect(watch.isClosed && device.events.isEmpty)
    }

    @Test func deferredQuiesce() throws {
        let session = try Session()
        let file = try File.memory(0x1000, name: "deferred")
        session.device.quiesceAnswers = [.success(.pending), .success(.pending), .failure(.ioError)]
        try session.peer.request(.dmaMap, Self.map(0, 0x1000), [file])
        #expect(throws: Errno.resourceBusy) { try session.server.poll() }
        #expect(mappingCount(of: "deferred") == 0)
        // The device cannot use client memory by messages while the server waits for it.
        try session.server.quiesced()
        #expect(try session.peer.receive().error == nil)
        #expect(mappingCount(of: "deferred") == 1)

        try session.peer.request(.dmaUnmap, encoded(DMAUnmap.everything))
        #expect(throws: Errno.resourceBusy) { try session.server.poll() }
        #expect(throws: Errno.resourceBusy) { try session.server.readClient(0, 1, directly: false) }
        #expect(try session.server.readClient(0, 1) == [0])
        try session.server.quiesced(error: .strange)
        #expect(try session.peer.receive().error == .strange)
        #expect(try session.server.readClient(0, 1) == [0])

        let watch = try File.Watch()
        try session.peer.request(.dmaMap, Self.map(0x8000, 0x1000), [watch.takeFile()])
        #expect(try session.server.poll() == 0)
        #expect(try session.peer.receive().error == .ioError)
        #expect(watch.isClosed)
    }

    /// While a request with a descriptor waits, and its client leaves, the descriptor does not stay.
    @Test func leavesDuringQuiesce() throws {
        let session = try Session()
        session.device.quiesceAnswers = [.success(.pending)]
        let watch = try File.Watch()
        try session.peer.request(.dmaMap, Self.map(0, 0x1000), [watch.takeFile()])
        #expect(throws: Errno.resourceBusy) { try session.server.poll() }
        session.peer.close()
        #expect(!watch.isClosed)
        session.device.quiesceAnswers = []
        try session.server.quiesced()
        #expect(watch.isClosed && !session.server.isAttached)
        #expect(session.device.events == [.quiesce, .reset(.lostConnection)])
        session.expectDisconnect()
    }
}
