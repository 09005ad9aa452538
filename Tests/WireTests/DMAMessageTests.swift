import SystemPackage
import Testing

@testable import VFIOUserWire

@Suite struct DMAMessageTests {
    @Test func flagBits() {
        #expect(DMAMap.Flags.known.rawValue == 0xf)
        #expect(DMAMap.Flags.mmap.rawValue == 4)
        #expect(DMAUnmap.Flags.getDirtyBitmap.rawValue == 1)
    }

    @Test func unmapWithBitmap() throws {
        let unmap = DMAUnmap(address: 0x1000, size: 0x2000, bitmap: .init(pageSize: 4096, size: 8))
        let wire = bytes(
            48 as UInt32, 1 as UInt32, 0x1000 as UInt64, 0x2000 as UInt64, 4096 as UInt64, 8 as UInt64)
        #expect(unmap.replyByteCount == 48)
        #expect(try encoded(unmap) == wire)
        #expect(try decoded(DMAUnmap.self, wire) == unmap)
        for length in 0..<40 {
            #expect(throws: Errno.invalidArgument) { try decoded(DMAUnmap.self, Array(wire[..<length])) }
        }
        for space in 0..<40 {
            #expect(throws: Errno.noBufferSpace) {
                try written(space: space) { writer throws(Errno) in try unmap.encode(into: &writer) }
            }
        }
        // The bitmap's bytes stay in the reader of a reply.
        let left = try reading(wire + [UInt8](repeating: 1, count: 8)) { reader throws(Errno) in
            _ = try DMAUnmap(decoding: &reader)
            return reader.remaining
        }
        #expect(left == 8)
    }

    @Test(
        arguments: [
            (39, 0), (47, 8), (40, 1), (1_048_577, 8), (UInt32.max, 8), (1_048_576, 1_048_537),
            (48, UInt64.max), (48, UInt64.max - 39), (48, UInt64.max - 40), (UInt32.max, UInt64.max),
        ] as [(UInt32, UInt64)])
    func argszAndBitmapDisagree(_ argsz: UInt32, _ size: UInt64) {
        let wire = bytes(argsz, 1 as UInt32, 0 as UInt64, 0 as UInt64, 4096 as UInt64, size)
        #expect(throws: Errno.invalidArgument) { try decoded(DMAUnmap.self, wire) }
    }

    @Test func largestBitmap() throws {
        let wire = bytes(
            1_048_576 as UInt32, 1 as UInt32, 0 as UInt64, 0 as UInt64, 4096 as UInt64, 1_048_536 as UInt64)
        #expect(try decoded(DMAUnmap.self, wire).replyByteCount == 1_048_576)
        // What the client says about a longer one, no server accepts.
        let longer = DMAUnmap(address: 0, size: 0, bitmap: .init(pageSize: 1, size: .max))
        #expect(longer.replyByteCount == .max)
        #expect(throws: Errno.invalidArgument) { try decoded(DMAUnmap.self, encoded(longer)) }
    }

    @Test func unmapWithoutBitmap() throws {
        #expect(throws: Errno.invalidArgument) {
            try decoded(DMAUnmap.self, bytes(1_048_577 as UInt32, 0 as UInt32, 0 as UInt64, 0 as UInt64))
        }
        // A bitmap without the flag is excess.
        let wire = bytes(24 as UInt32, 2 as UInt32, 0 as UInt64, 0 as UInt64, 1 as UInt64, 8 as UInt64)
        #expect(try decoded(DMAUnmap.self, wire) == .everything)
    }

    @Test func accessWithData() throws {
        let head = bytes(0x1000 as UInt64, 3 as UInt64)
        let data: [UInt8] = try reading(head + [7, 8, 9]) { reader throws(Errno) in
            let access = try DMAAccess(decodingWithData: &reader)
            #expect(access == DMAAccess(address: 0x1000, count: 3))
            let data = reader.rest()
            return try written { writer throws(Errno) in try writer.append(data) }
        }
        #expect(data == [7, 8, 9])
        for count in [0, 1, 2, 4] {
            #expect(throws: Errno.invalidArgument) {
                try reading(head + [UInt8](repeating: 0, count: count)) { reader throws(Errno) in
                    try DMAAccess(decodingWithData: &reader)
                }
            }
        }
    }

    @Test(arguments: [1_048_577, UInt64.max, 1 << 63]) func accessTooLong(_ count: UInt64) {
        #expect(throws: Errno.invalidArgument) { try decoded(DMAAccess.self, bytes(0 as UInt64, count)) }
        #expect(throws: Errno.invalidArgument) {
            try reading(bytes(0 as UInt64, count)) { reader throws(Errno) in
                try DMAAccess(decodingWithData: &reader)
            }
        }
    }

    @Test(
        arguments: [
            (0, 4096, 0), (1, 4096, 8), (64 * 4096, 4096, 8), (64 * 4096 + 1, 4096, 16),
            (UInt64.max, 1, 1 << 61), (UInt64.max, UInt64.max, 8), (UInt64.max, 2, 1 << 60),
        ] as [(UInt64, UInt64, UInt64)])
    func bitmapLength(_ length: UInt64, _ pageSize: UInt64, _ expected: UInt64) {
        #expect(DMALoggingReport(iova: 0, length: length, pageSize: pageSize).bitmapByteCount == expected)
    }

    @Test func bitmapOfNoPageSize() {
        #expect(DMALoggingReport(iova: 0, length: 1, pageSize: 0).bitmapByteCount == nil)
    }
}
