import SystemPackage
import Testing

@testable import VFIOUserWire

@Suite struct IOASMessageTests {
    @Test func flagBits() {
        #expect(IOASMapFlags.writeable.rawValue == 1)
        #expect(IOASMapFlags.readable.rawValue == 2)
        #expect(IOASMapFlags.fixedIOVA.rawValue == 4)
        #expect(IOASMapFlags.known.rawValue == 7)
        #expect(IOASUnmapFlags.known.rawValue == 1)
        #expect(AttachFlags.known.rawValue == 1)
    }

    /// What must be zero is kept for the server to judge.
    @Test func reservedFieldsAreKept() throws {
        let wire = bytes(16 as UInt32, 5 as UInt32, 6 as UInt32, 7 as UInt32)
        let alloc = try decoded(IOASAlloc.self, wire)
        #expect((alloc.flags, alloc.ioasID, alloc.reserved) == (5, 6, 7))
        let detach = try decoded(DetachPT.self, wire)
        #expect((detach.flags.rawValue, detach.pasid, detach.reserved) == (5, 6, 7))
        let compat = try decoded(CompatIOAS.self, wire)
        #expect(compat.operation == nil)
        #expect((compat.operationNumber, compat.ioasID) == (6, 7))
        #expect(CompatIOAS(.set, ioasID: 3).operation == .set)
    }

    @Test func rangesReply() throws {
        let head = IOVARanges(ioasID: 3, rangeCount: 2, alignment: 4096)
        let ranges = [IOVARanges.Range(start: 0x1000, last: 0xfff_ffff), .init(start: 1 << 40, last: .max)]
        let wire = try encoded(head) + ranges.flatMap { try encoded($0) }
        #expect(head.argsz == 56)
        #expect(wire.count == 56)

        func decode(_ wire: [UInt8]) throws(Errno) -> IOVARanges {
            try reading(wire) { reader throws(Errno) in try IOVARanges(decodingReply: &reader) }
        }
        #expect(try decode(wire) == head)
        // All of them or none.
        for length in 0..<56 where length != 24 {
            #expect(throws: Errno.invalidArgument) { try decode(Array(wire[..<length])) }
        }
        #expect(try decode(Array(wire[..<24])) == head)
        #expect(throws: Errno.invalidArgument) { try decode(wire + [0]) }
        // As a request it has excess that is not zero.
        #expect(throws: Errno.argListTooLong) { try decoded(IOVARanges.self, wire) }

        #expect(IOVARanges(ioasID: 1, rangeCount: .max, alignment: 1).argsz == .max)
        #expect(throws: Errno.invalidArgument) {
            try decoded(IOVARanges.Range.self, bytes(2 as UInt64, 1 as UInt64))
        }
    }
}
