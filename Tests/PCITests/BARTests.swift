import SystemPackage
import Testing
import VFIOUserPCI

@Suite struct BARTests {
    static func space(_ bars: [Int: BAR]) -> ConfigSpace {
        let space = ConfigSpace(kind: .express)
        for (index, bar) in bars { space.setBAR(index, bar) }
        space.realize(intxCount: 0)
        return space
    }

    static func dword(_ space: ConfigSpace, _ index: Int) -> UInt32 {
        space.storage.load32(at: 0x10 + 4 * index)
    }

    /// Read, write ones, read, write back, as software finds a BAR's size.
    static func sizing(_ space: ConfigSpace, _ index: Int) -> UInt32 {
        let old = space.clientRead(4, at: 0x10 + 4 * index).bytes
        #expect(space.clientWrite([0xff, 0xff, 0xff, 0xff], at: 0x10 + 4 * index) == .success)
        let mask = dword(space, index)
        #expect(space.clientWrite(old, at: 0x10 + 4 * index) == .success)
        // The initial 0x1 of an upper half does not come back.
        let restored = index % 2 == 1 ? [old[0] & UInt8(mask & 0xff)] + old[1...] : old
        #expect(space.clientRead(4, at: 0x10 + 4 * index).bytes == restored)
        return mask
    }

    @Test(
        arguments: [
            (.none, 0x1), (BAR(size: 4096, isMemory: false), 0x1), (BAR(size: 4096, isMemory: true), 0x0),
            (BAR(size: 1 << 20, isMemory: true, is64Bit: true), 0x4),
            (BAR(size: 1 << 30, isMemory: true, is64Bit: true, isPrefetchable: true), 0xc),
            (BAR(size: 4096, isMemory: true, isPrefetchable: true), 0x8),
            (BAR(size: 256, isMemory: false, is64Bit: true, isPrefetchable: true), 0x1),
        ] as [(BAR, UInt32)])
    func typeBitsAfterRealize(bar: BAR, dword: UInt32) {
        let space = Self.space([2: bar])
        #expect(Self.dword(space, 2) == dword)
        let isUpperHalf = bar.isMemory && bar.is64Bit
        #expect(Self.dword(space, 3) == (isUpperHalf ? 0 : 0x1), "never set up, or an upper half")
    }

    @Test func sizesOf32BitBARs() {
        let sizes: [UInt64] = [0, 4096, 8192, 16384, 0, 0]
        let space = Self.space(
            Dictionary(
                uniqueKeysWithValues: sizes.enumerated().filter { $1 > 0 }.map {
                    ($0, BAR(size: $1, isMemory: true))
                }))
        for (index, size) in sizes.enumerated() {
            let mask = Self.sizing(space, index)
            if size == 0 {
                #expect(mask == 0x1)
            } else {
                #expect(UInt64(~(mask & ~0xf)) + 1 == size)
            }
        }
    }

    @Test(arguments: (4...40).map { UInt64(1) << $0 })
    func sizesOf64BitBARs(size: UInt64) {
        let space = Self.space([
            0: BAR(size: size, isMemory: true, is64Bit: true),
            4: BAR(size: size, isMemory: true, is64Bit: true, isPrefetchable: true),
        ])
        for (index, type) in [(0, UInt32(0x4)), (4, 0xc)] {
            let low = Self.sizing(space, index)
            let high = Self.sizing(space, index + 1)
            #expect(low & 0xf == type)
            #expect(~(UInt64(high) << 32 | UInt64(low & ~0xf)) &+ 1 == size)
        }
        #expect(Self.sizing(space, 2) == 0x1)
        #expect(Self.sizing(space, 3) == 0x1)
    }

    @Test func documentedExamples() {
        let ones: [UInt8] = [0xff, 0xff, 0xff, 0xff]
        let space = Self.space([
            0: BAR(size: 4096, isMemory: true), 1: BAR(size: 256, isMemory: false),
            2: BAR(size: 8 << 30, isMemory: true, is64Bit: true, isPrefetchable: true),
            4: BAR(size: 4 << 30, isMemory: true, is64Bit: true),
        ])
        for index in 0..<6 { #expect(space.clientWrite(ones, at: 0x10 + 4 * index) == .success) }
        #expect(
            (0..<6).map { Self.dword(space, $0) }
                == [0xffff_f000, 0xffff_ff01, 0x0000_000c, 0xffff_fffe, 0x0000_0004, 0xffff_ffff])
    }

    @Test func upperHalfStoresAnyAddress() {
        let space = Self.space([0: BAR(size: 4096, isMemory: true, is64Bit: true)])
        #expect(space.clientWrite(littleEndian(0x0000_0012_3456_7abc as UInt64, 8), at: 0x10) == .success)
        #expect(Self.dword(space, 0) == 0x3456_7004)
        #expect(Self.dword(space, 1) == 0x0000_0012)
        #expect(space.clientWrite([0, 0, 0, 0], at: 0x14) == .success)
        #expect(Self.dword(space, 1) == 0, "the initial 0x1 is gone")
    }

    /// There are no 64-bit I/O BARs, so bit 1 and up of one hold its address, and the BAR above is its own.
    @Test func flagged64BitIOBAR() {
        let space = Self.space([0: BAR(size: 4, isMemory: false, is64Bit: true)])
        #expect(Self.sizing(space, 0) == 0xffff_fffd)
        #expect(Self.sizing(space, 1) == 0x1)
    }

    @Test func shortWritesMerge() {
        let space = Self.space([0: BAR(size: 4096, isMemory: true)])
        #expect(space.clientWrite([0x00, 0x50, 0x34, 0x12], at: 0x10) == .success)
        #expect(space.clientWrite([0xff], at: 0x10) == .success)
        #expect(Self.dword(space, 0) == 0x1234_5000)
        #expect(space.clientWrite([0xff, 0xaf], at: 0x10) == .success)
        #expect(Self.dword(space, 0) == 0x1234_a000)
        #expect(space.clientWrite([0, 0, 0xcd], at: 0x10) == .success)
        #expect(Self.dword(space, 0) == 0x12cd_0000)
        #expect(space.clientWrite([0xff], at: 0x12) == .failed(.invalidArgument))
    }

    @Test(arguments: [0, 1, 3, 5, 24, UInt64.max, 1 << 63])
    func oddSizesDoNotTrap(size: UInt64) {
        for isMemory in [false, true] {
            for is64Bit in [false, true] {
                let bar = BAR(size: size, isMemory: isMemory, is64Bit: is64Bit)
                let space = Self.space([0: bar, 1: bar])
                let type = Self.dword(space, 0)
                #expect(space.clientWrite([UInt8](repeating: 0xff, count: 8), at: 0x10) == .success)
                #expect(Self.dword(space, 0) & (isMemory ? 0xf : 0x3) == type)
            }
        }
    }

    @Test func indexesThatDoNotExist() {
        let space = ConfigSpace(kind: .conventional)
        for index in [-1, 6, Int.max, Int.min] { space.setBAR(index, BAR(size: 4096, isMemory: true)) }
        space.realize(intxCount: 0)
        for index in 0..<6 { #expect(Self.dword(space, index) == 0x1) }
    }

    /// The program may change the type bits; writes keep what is there.
    @Test func typeBitsBelongToTheProgram() {
        let space = Self.space([0: BAR(size: 4096, isMemory: true)])
        space.storage.store8(0x8, at: 0x10)
        #expect(Self.sizing(space, 0) == 0xffff_f008)
    }
}
