import SystemPackage
import Testing

@testable import VFIOUserWire

@Suite struct RegionAccessTests {
    @Test func countsUpToALimit() throws {
        let most = bytes(0 as UInt64, 0 as UInt32, 1_048_576 as UInt32)
        #expect(try decoded(RegionAccess.self, most).count == 1_048_576)
        for count in [1_048_577, UInt32.max] {
            #expect(throws: Errno.invalidArgument) {
                try decoded(RegionAccess.self, bytes(0 as UInt64, 0 as UInt32, count))
            }
        }
    }

    @Test func dataIsCountedExactly() throws {
        let head = bytes(0x10 as UInt64, 2 as UInt32, 4 as UInt32)
        for count in 0..<10 {
            let wire = head + [UInt8](repeating: 1, count: count)
            let decode = { () throws(Errno) in
                try reading(wire) { reader throws(Errno) in try RegionAccess(decodingWithData: &reader) }
            }
            if count == 4 {
                #expect(try decode() == RegionAccess(offset: 0x10, region: 2, count: 4))
            } else {
                #expect(throws: Errno.invalidArgument) { try decode() }
            }
            // A read may have extra payload.
            #expect(try decoded(RegionAccess.self, wire).count == 4)
        }
    }

    @Test func severalWrites() throws {
        let writes = [
            RegionWriteMulti.Write(offset: 0x1000, region: 0, count: 4, data: 7),
            RegionWriteMulti.Write(offset: 0x1008, region: 0, count: 8, data: .max),
            RegionWriteMulti.Write(offset: 0x1010, region: 1, count: 0, data: 0),
        ]
        let wire = try encoded(RegionWriteMulti(count: 3)) + writes.flatMap { try encoded($0) }
        #expect(wire.count == 8 + 3 * 24)

        let received = try reading(wire) { reader throws(Errno) in
            let head = try RegionWriteMulti(decodingRequest: &reader)
            var writes: [RegionWriteMulti.Write] = []
            for _ in 0..<head.count { writes.append(try .init(decoding: &reader)) }
            #expect(reader.remaining == 0)
            return writes
        }
        #expect(received == writes)

        func decode(_ wire: [UInt8]) throws(Errno) -> RegionWriteMulti {
            try reading(wire) { reader throws(Errno) in try RegionWriteMulti(decodingRequest: &reader) }
        }
        for length in 0..<wire.count {
            #expect(throws: Errno.invalidArgument) { try decode(Array(wire[..<length])) }
        }
        #expect(try decode(wire + [1, 2, 3]).count == 3)
        // One impossible write, the last, refuses all.
        var bad = wire
        bad[8 + 2 * 24 + 12] = 9
        #expect(throws: Errno.invalidArgument) { try decode(bad) }
        for count in [UInt64.max, 1 << 60, 4, 768_614_336_404_564_651] {
            #expect(throws: Errno.invalidArgument) { try decode(bytes(count) + wire[8...]) }
        }
    }
}
