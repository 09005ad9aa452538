import SystemPackage
import Testing
import VFIOUserPCI

@Suite struct HeaderTests {
    /// Start offsets at which writes of one, two and four bytes succeed; the rest fail.
    static let accepted: [Int: Set<Int>] = [
        1: [
            0x04, 0x06, 0x08, 0x09, 0x0c, 0x0d, 0x10, 0x14, 0x18, 0x1c, 0x20, 0x24, 0x30, 0x3c, 0x3d, 0x3e,
            0x3f,
        ],
        2: [0x04, 0x06, 0x08, 0x09, 0x0c, 0x10, 0x14, 0x18, 0x1c, 0x20, 0x24, 0x30, 0x3c, 0x3d, 0x3e],
        4: [0x04, 0x06, 0x08, 0x09, 0x10, 0x14, 0x18, 0x1c, 0x20, 0x24, 0x30, 0x3c],
    ]

    @Test(arguments: 0..<0x40, [1, 2, 4])
    func writesAtEveryOffset(offset: Int, length: Int) throws {
        let space = ConfigSpace(kind: .express)
        let before = space.snapshot
        let zeros = [UInt8](repeating: 0, count: length)
        let succeeds = try #require(Self.accepted[length]).contains(offset)
        #expect(space.clientWrite(zeros, at: offset) == (succeeds ? .success : .failed(.invalidArgument)))
        #expect(space.snapshot == before, "writing zeros over zeros changes nothing")
    }

    /// What is left in a header of zeros by a write of ones that succeeds: at most these bytes.
    @Test(arguments: 0..<0x40, [1, 2, 3, 4])
    func onlyTheWritableChanges(offset: Int, length: Int) {
        let space = ConfigSpace(kind: .conventional)
        for index in 0..<6 { space.setBAR(index, BAR(size: 16, isMemory: true)) }
        _ = space.clientWrite([UInt8](repeating: 0xff, count: length), at: offset)
        var writable: [Int: UInt8] = [0x04: 0x17, 0x05: 0x05, 0x0c: 0xff, 0x0d: 0xff, 0x3c: 0xff]
        for bar in 0..<6 {
            for byte in 0..<4 { writable[0x10 + 4 * bar + byte] = byte == 0 ? 0xf0 : 0xff }
        }
        for (place, byte) in space.snapshot.enumerated() {
            let mask = (offset..<(offset + length)).contains(place) ? writable[place] ?? 0 : 0
            #expect(byte & ~mask == 0, "byte \(place)")
        }
    }

    @Test(arguments: 0..<16)
    func commandBits(bit: Int) {
        let value = UInt16(1) << bit
        let stored = value & 0x0517
        let refused = value & ~0x0537 != 0
        let space = ConfigSpace(kind: .conventional)
        #expect(
            space.clientWrite(littleEndian(value, 2), at: 4)
                == (refused ? .failed(.invalidArgument) : .success))
        #expect(space.storage.load16(at: 4) == stored)
        #expect(space.clientWrite([0, 0], at: 4) == .success)
        #expect(space.storage.load16(at: 4) == 0)
    }

    @Test func everyCommandValue() {
        let space = ConfigSpace(kind: .conventional)
        for value in UInt16.min...UInt16.max {
            let outcome = space.clientWrite(littleEndian(value, 2), at: 4)
            let refused = value & ~0x0537 != 0
            guard outcome == (refused ? .failed(.invalidArgument) : .success),
                space.storage.load16(at: 4) == value & 0x0517
            else {
                Issue.record("command \(value)")
                return
            }
        }
    }

    @Test func refusedCommandKeepsItsGoodBits() {
        let space = ConfigSpace(kind: .conventional)
        #expect(space.clientWrite([0x47, 0x05], at: 4) == .failed(.invalidArgument))
        #expect(space.storage.load16(at: 4) == 0x0507)
    }

    @Test func oneByteOfCommandLeavesTheOther() {
        let space = ConfigSpace(kind: .conventional)
        #expect(space.clientWrite([0x00, 0x05], at: 4) == .success)
        #expect(space.clientWrite([0x07], at: 4) == .success)
        #expect(space.storage.load16(at: 4) == 0x0507)
        #expect(space.clientWrite([0x08], at: 4) == .failed(.invalidArgument))
        #expect(space.storage.load16(at: 4) == 0x0500)
    }

    /// Bits that no client can set are the program's; a client's write does not clear them.
    @Test func commandKeepsTheProgramsBits() {
        let space = ConfigSpace(kind: .conventional)
        space.storage.store16(0xfae8, at: 4)
        #expect(space.clientWrite([0, 0], at: 4) == .success)
        #expect(space.storage.load16(at: 4) == 0xfae8)
        #expect(space.clientWrite([0x02], at: 4) == .success)
        #expect(space.storage.load16(at: 4) == 0xfaea)
    }

    @Test func longWritesGoOnWithTheNextRegister() {
        let space = ConfigSpace(kind: .conventional)
        #expect(space.clientWrite([0x06, 0x00, 0xff, 0xff], at: 4) == .success)
        #expect(space.storage.load32(at: 4) == 0x0000_0006, "the status register is not writable")
        #expect(space.clientWrite([1, 2, 3, 4], at: 0x3c) == .success)
        #expect(space.storage.load32(at: 0x3c) == 0x0000_0001)
    }

    @Test func earlierSegmentsStayDone() {
        let space = ConfigSpace(kind: .conventional)
        #expect(space.clientWrite([0x10, 0x40, 0, 0], at: 0x0c) == .failed(.invalidArgument))
        #expect(space.storage.load32(at: 0x0c) == 0x0000_4010)
    }

    @Test(arguments: [0x04, 0x06, 0x08, 0x0c, 0x10, 0x30, 0x3c])
    func wholeHeaderWriteStopsAtTheFirstRefusal(start: Int) {
        let space = ConfigSpace(kind: .conventional)
        let bytes = [UInt8](repeating: 0, count: 0x40 - start)
        #expect(space.clientWrite(bytes, at: start) == (start == 0x3c ? .success : .failed(.invalidArgument)))
    }

    @Test func readOnlyRegistersIgnoreWrites() {
        let space = ConfigSpace(kind: .conventional)
        space.setIdentity(PCIIdentity(vendor: 1, device: 2, subsystemVendor: 3, subsystem: 4))
        space.setClass(.nvme)
        space.setRevision(7)
        space.storage.store8(1, at: 0x3d)
        space.storage.store8(9, at: 0x3e)
        let before = space.snapshot
        for (offset, length) in [(0x06, 2), (0x08, 4), (0x08, 1), (0x09, 3), (0x3d, 3), (0x3f, 1)] {
            #expect(space.clientWrite([UInt8](repeating: 0xff, count: length), at: offset) == .success)
        }
        for (offset, length) in [(0, 4), (0, 2), (2, 2), (0x0e, 2), (0x28, 4), (0x2c, 4), (0x34, 1)] {
            let bytes = [UInt8](repeating: 0xff, count: length)
            #expect(space.clientWrite(bytes, at: offset) == .failed(.invalidArgument))
        }
        #expect(space.snapshot == before)
    }

    @Test(
        arguments: [
            (0xffff_f800, true), (0xffff_fffe, true), (0xffff_ffff, true), (0, true), (1, false),
            (0xffff_f801, false), (0x0000_0800, false), (0xfffe_0000, false),
        ] as [(UInt32, Bool)])
    func romRegister(value: UInt32, accepted: Bool) {
        let space = ConfigSpace(kind: .conventional)
        space.storage.store32(0x1234_5001, at: 0x30)
        let outcome = space.clientWrite(littleEndian(value, 4), at: 0x30)
        #expect(outcome == (accepted ? .success : .failed(.invalidArgument)))
        #expect(space.storage.load32(at: 0x30) == (value == 0 ? 0 : 0x1234_5001))
    }

    @Test func shortROMWritesMerge() {
        let space = ConfigSpace(kind: .conventional)
        #expect(space.clientWrite([0, 0], at: 0x30) == .success)
        #expect(
            space.clientWrite([0xff], at: 0x30) == .failed(.invalidArgument), "0x000000ff is no sizing value")
        space.storage.store32(0xffff_ff00, at: 0x30)
        #expect(space.clientWrite([0xfe], at: 0x30) == .success)
        #expect(space.storage.load32(at: 0x30) == 0xffff_ff00)
    }
}
