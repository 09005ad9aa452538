import SystemPackage
import Testing

@testable import VFIOUserWire

@Suite struct RegionInfoTests {
    let info = RegionInfo(index: 2, flags: [.read, .write, .mmap], size: 0x4000, offset: 0x8000)
    let areas = [MappableArea(offset: 0x1000, size: 0x1000), MappableArea(offset: 0x3000, size: 0x1000)]

    /// The complete answer: 32 bytes, a capability of 16 and two areas.
    var complete: [UInt8] {
        bytes(80 as UInt32, 0xf as UInt32, 2 as UInt32, 32 as UInt32, 0x4000 as UInt64, 0x8000 as UInt64)
            + bytes(1 as UInt16, 1 as UInt16, 0 as UInt32, 2 as UInt32, 0 as UInt32)
            + bytes(0x1000 as UInt64, 0x1000 as UInt64, 0x3000 as UInt64, 0x1000 as UInt64)
    }

    func encoded(_ reply: RegionInfoReply, space: Int = 8192) throws(Errno) -> [UInt8] {
        try written(space: space) { writer throws(Errno) in try reply.encode(into: &writer) }
    }

    func decoded(_ bytes: [UInt8]) throws(Errno) -> RegionInfoReply {
        try reading(bytes) { reader throws(Errno) in try RegionInfoReply(decoding: &reader) }
    }

    @Test(arguments: [80, 81, 4064, UInt32.max]) func roomForAll(_ argsz: UInt32) throws {
        let reply = RegionInfoReply(info, areas: areas, requestArgsz: argsz)
        #expect(reply.byteCount == 80)
        #expect(reply.info.flags.contains(.caps))
        #expect(try encoded(reply) == complete)
        let again = try decoded(complete)
        #expect(again == reply)
        #expect(again.areas == areas)
        #expect(throws: Errno.noBufferSpace) { try encoded(reply, space: 79) }
    }

    @Test(arguments: 32..<80) func roomForLess(_ argsz: Int) throws {
        let reply = RegionInfoReply(info, areas: areas, requestArgsz: UInt32(argsz))
        let head = bytes(
            80 as UInt32, 7 as UInt32, 2 as UInt32, 0 as UInt32, 0x4000 as UInt64, 0x8000 as UInt64)
        #expect(try encoded(reply) == head + [UInt8](repeating: 0, count: argsz - 32))
        #expect(!reply.info.flags.contains(.caps))
        #expect(try decoded(encoded(reply)).areas == [])
    }

    @Test func noAreas() throws {
        let reply = RegionInfoReply(info, areas: [], requestArgsz: 4064)
        #expect(reply.byteCount == 32)
        #expect(reply.info.argsz == 32)
        let absent = RegionInfoReply(RegionInfo(index: 4), areas: areas, requestArgsz: 4064)
        #expect(
            try encoded(absent)
                == bytes(32 as UInt32, 0 as UInt32, 4 as UInt32, 0 as UInt32, 0 as UInt64, 0 as UInt64))
    }

    @Test func moreAreasThanAMessageHolds() {
        #expect(RegionInfoReply.byteCount(areaCount: 0) == 32)
        #expect(RegionInfoReply.byteCount(areaCount: 1) == 64)
        #expect(RegionInfoReply.byteCount(areaCount: .max) == Int(UInt32.max))
    }

    /// SPDK's initiator pads its request to 4080 bytes of payload and header together.
    @Test func paddedRequest() throws {
        let request = bytes(4064 as UInt32, 0 as UInt32, 7 as UInt32, 0 as UInt32, 0 as UInt64, 0 as UInt64)
        let message =
            bytes(0 as UInt16, 5 as UInt16, 4080 as UInt32, 0 as UInt32, 0 as UInt32) + request
            + [UInt8](repeating: 0, count: 4064 - 32)
        let (header, info) = try reading(message) { reader throws(Errno) in
            let header = try MessageHeader(decoding: &reader)
            #expect(try header.payloadByteCount() == reader.remaining)
            return (header, try RegionInfo(decoding: &reader))
        }
        #expect(header == MessageHeader(id: 0, command: .deviceGetRegionInfo, payloadByteCount: 4064))
        #expect(info == RegionInfo(index: 7, argsz: 4064))
        #expect(RegionInfoReply(self.info, areas: areas, requestArgsz: info.argsz).byteCount == 80)
    }

    @Test func everyTruncationOfAReply() {
        for length in 0..<80 {
            #expect(throws: Errno.invalidArgument) { try decoded(Array(complete[..<length])) }
        }
    }

    @Test func unknownCapabilitiesAreSkipped() throws {
        // At 32 an unknown one of 8 bytes, then the list.
        var wire = complete
        wire.insert(contentsOf: bytes(77 as UInt16, 9 as UInt16, 40 as UInt32), at: 32)
        #expect(try decoded(wire).areas == areas)
    }

    @Test func capsWithoutAnOffset() throws {
        var wire = complete
        wire[12] = 0
        #expect(try decoded(wire).areas == [])
    }

    @Test(
        arguments: [
            // Where the first capability is, and where it says the next one is.
            (1, 0), (31, 0), (73, 0), (80, 0), (UInt32.max, 0), (32, 32), (32, 39), (32, 1), (32, 16),
            (32, 73),
            (32, UInt32.max), (32, 0x8000_0000),
        ] as [(UInt32, UInt32)])
    func chainThatLeadsAstray(_ first: UInt32, _ next: UInt32) {
        var wire = complete
        wire.replaceSubrange(12..<16, with: bytes(first))
        wire.replaceSubrange(36..<40, with: bytes(next))
        #expect(throws: Errno.invalidArgument) { try decoded(wire) }
    }

    @Test(arguments: [3, 4, 0x1000_0000, UInt32.max]) func moreAreasThanThereAre(_ count: UInt32) {
        var wire = complete
        wire.replaceSubrange(40..<44, with: bytes(count))
        #expect(throws: Errno.invalidArgument) { try decoded(wire) }
    }

    @Test func twoLists() {
        var wire = complete
        wire.replaceSubrange(36..<40, with: bytes(80 as UInt32))
        wire += bytes(1 as UInt16, 1 as UInt16, 0 as UInt32, 0 as UInt32, 0 as UInt32)
        #expect(throws: Errno.invalidArgument) { try decoded(wire) }
    }

    @Test func randomRepliesNeverTrap() {
        let seed = UInt64.random(in: 0...UInt64.max)
        var generator = SeededGenerator(seed: seed)
        var accepted = 0
        for _ in 0..<20_000 {
            var wire = complete
            for _ in 0..<Int.random(in: 1...3, using: &generator) {
                let index = Int.random(in: 0..<wire.count, using: &generator)
                wire[index] = UInt8.random(in: 0...255, using: &generator)
            }
            do throws(Errno) {
                let reply = try decoded(wire)
                #expect(reply.areas.count <= 2, "seed \(seed)")
                accepted += 1
            } catch {
                #expect(error == .invalidArgument, "seed \(seed)")
            }
        }
        #expect(accepted > 100, "seed \(seed)")
    }
}
