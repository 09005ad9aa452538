import SystemPackage
import Testing
import VFIOUserWire

@testable import VFIOUserServer

/// What SPDK's NVMe initiator says from beginning to end: no capabilities, padded requests, a descriptor with
/// DMA_UNMAP, every message with id 0 and read in one piece.
@Suite struct SPDKSessionTests {
    static let ramAddress: UInt64 = 0x2000_0020_0000
    static let ramSize: UInt64 = 256 << 20

    final class Initiator {
        let server: DeviceServer
        let peer: RawPeer
        init(_ server: DeviceServer, _ peer: RawPeer) {
            self.server = server
            self.peer = peer
        }

        /// One request, one reply, which has to come in one piece of at most a page.
        func call(_ command: Command, _ payload: [UInt8], _ files: [File] = []) throws -> Received {
            try peer.send(message(command, payload), files)
            if server.isAttached { #expect(try server.poll() == 1) } else { try server.attach() }
            let reply = try peer.receive()
            #expect(reply.header.id == 0 && reply.header.command == command.rawValue)
            #expect(reply.error == nil && reply.payload.count <= 4096)
            #expect(peer.isQuiet)
            return reply
        }

        func read(_ region: UInt32, _ offset: UInt64, _ count: UInt32) throws -> [UInt8] {
            Array(try call(.regionRead, bytes(offset, region, count)).payload.dropFirst(16))
        }

        func write(_ region: UInt32, _ offset: UInt64, _ data: [UInt8]) throws {
            _ = try call(.regionWrite, bytes(offset, region, UInt32(data.count)) + data)
        }
    }

    @Test func wholeSession() throws {
        let device = TestDevice()
        let (peer, theirs) = try RawPeer.pair()
        let doorbells = try File.memory(0x2000)
        let server = try device.server(at: .connected(theirs))
        try server.setRegion(
            .bar0,
            Region(
                size: 0x4000, flags: [.readWrite, .memory], file: FileDescriptor(rawValue: doorbells.number),
                mappableAreas: [Region.Area(offset: 0x1000, size: 0x1000)]))
        try server.realize()
        let initiator = Initiator(server, peer)

        let version = try initiator.call(.version, bytes(UInt16(0), UInt16(1)))
        #expect(Array(version.payload.prefix(4)) == bytes(UInt16(0), UInt16(1)))
        let info = try initiator.call(.deviceGetInfo, encoded(DeviceInfo()))
        let regions = try decoded(DeviceInfo.self, info.payload).regionCount
        #expect(regions <= 10)

        var mapped: [UInt32] = []
        for index in 0..<regions {
            var request = encoded(RegionInfo(index: index, argsz: 4064))
            request += [UInt8](repeating: 0, count: 4064 - request.count)
            let reply = try initiator.call(.deviceGetRegionInfo, request)
            var reader = Reader(reply.payload.span)
            let answer = try RegionInfoReply(decoding: &reader)
            #expect(answer.info.flags.contains(.mmap) == !reply.files.isEmpty)
            guard let file = reply.files.first else { continue }
            mapped.append(index)
            #expect(answer.areas == [MappableArea(offset: 0x1000, size: 0x1000)])
            // A doorbell rung through the mapping reaches the device's file.
            file.put([1, 2, 3, 4], at: Int(answer.info.offset + answer.areas[0].offset))
        }
        #expect(mapped == [0])
        #expect(doorbells.contents(at: 0x1000, count: 4) == [1, 2, 3, 4])

        let ram = try File.memory(Int(Self.ramSize), name: "spdk")
        let map = encoded(
            DMAMap(flags: [.read, .write], offset: 0, address: Self.ramAddress, size: Self.ramSize))
        #expect(try initiator.call(.dmaMap, map, [ram]).payload.isEmpty)
        #expect(mappingCount(of: "spdk") == 1)

        let command = try initiator.read(7, 4, 2)
        try initiator.write(7, 4, [command[0] | 4, command[1] | 4])
        #expect(try initiator.read(7, 4, 2) == [4, 4])

        for offset in [0, 8, 0, 0x14, 0x1c] as [UInt64] {
            _ = try initiator.read(0, offset, offset == 0 ? 8 : 4)
        }
        try initiator.write(0, 0x28, bytes(Self.ramAddress))
        try initiator.write(0, 0x30, bytes(Self.ramAddress + 0x4000))
        try initiator.write(0, 0x24, bytes(UInt32(0x00ff_00ff)))
        try initiator.write(0, 0x14, bytes(UInt32(0x0046_0001)))
        #expect(try initiator.read(0, 0x14, 4) == bytes(UInt32(0x0046_0001)))

        // The queues, as the device sees them.
        ram.put([6, 0, 1, 0], at: 0)
        #expect(try server.readClient(Self.ramAddress, 4) == [6, 0, 1, 0])
        try server.writeClient(Self.ramAddress + 0x4000, [0xaa])
        #expect(ram.contents(at: 0x4000, count: 1) == [0xaa])

        try initiator.write(0, 0x14, bytes(UInt32(0x0046_4001)))
        let unmap = encoded(DMAUnmap(address: Self.ramAddress, size: Self.ramSize))
        let watch = try File.Watch()
        #expect(try initiator.call(.dmaUnmap, unmap, [watch.takeFile()]).payload == unmap)
        #expect(watch.isClosed && mappingCount(of: "spdk") == 0)
        initiator.peer.close()
        #expect(throws: Errno.socketNotConnected) { try server.poll() }
        #expect(
            device.events.suffix(3) == [
                .removed(Self.ramAddress, Self.ramSize), .quiesce, .reset(.lostConnection),
            ])
    }
}
