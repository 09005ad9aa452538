import SystemPackage
import Testing
import VFIOUserClient

@testable import NVMeDriver

/// PRPs as the specification reads them.
struct DataPointerTests {
    private static let listIOVA: UInt64 = 0x7000_0000_0000

    /// Where a controller finds the data, as pairs of address and count.
    private func walk(
        _ pointer: DataPointer, _ byteCount: Int, _ memory: MappedMemory, _ iova: UInt64
    ) throws -> [(UInt64, Int)] {
        var found = [(pointer.first, min(byteCount, 4096 - Int(pointer.first & 4095)))]
        var left = byteCount - found[0].1
        guard left > 0 else { return found }
        guard left > 4096 else { return found + [(pointer.second, left)] }
        var entry = pointer.second
        while left > 0 {
            #expect(entry & 7 == 0)
            let value: UInt64 = try memory.load(at: Int(entry - iova))
            if entry & 4095 == 4088, left > 4096 {
                // The next list, at the beginning of a page.
                #expect(value & 4095 == 0)
                entry = value
                continue
            }
            #expect(value & 4095 == 0)
            found.append((value, min(4096, left)))
            left -= found[found.count - 1].1
            entry += 8
        }
        return found
    }

    /// Makes a pointer, and compares what a controller finds with what there is.
    private func check(_ address: UInt64, _ byteCount: Int, slot: Int, listOffset: Int) throws {
        let (transfer, commands) = (4 << 20, 3)
        let memory = try MappedMemory(
            privateCount: 4096 + PRPList.byteCount(commands: commands, transfer: transfer))
        let list = try PRPList(
            memory, at: listOffset, iova: Self.listIOVA + UInt64(listOffset), commands: commands,
            transfer: transfer)
        let pointer = try DataPointer(pages: address, byteCount, list, slot)
        var next = address
        for (place, count) in try walk(pointer, byteCount, memory, Self.listIOVA) {
            #expect(place == next)
            next += UInt64(count)
        }
        #expect(next == address + UInt64(byteCount))
    }

    @Test(arguments: [0, 4, 512, 2048, 4092] as [UInt64])
    func aroundPages(_ offset: UInt64) throws {
        for pages in [1, 2, 3, 511, 512, 513, 514, 1022, 1023] {
            for difference in [-4, 0, 4] {
                let count = pages * 4096 + difference
                try check(0x1_0000_0000 + offset, count, slot: 0, listOffset: 0)
                // Ends exactly at a page boundary.
                try check(0x1_0000_0000 + offset, count - Int(offset), slot: 1, listOffset: 0)
            }
        }
    }

    /// Lists that begin anywhere in a page, the last entry of one included.
    @Test func listsCrossPages() throws {
        for listOffset in [8, 2048, 4072, 4080, 4088] {
            for pages in [3, 4, 5, 257, 512, 513, 1024] {
                try check(0x10000, pages * 4096, slot: 0, listOffset: listOffset)
                try check(0x10ffc, pages * 4096, slot: 2, listOffset: listOffset)
            }
        }
    }

    @Test func random() throws {
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<300 {
            let address = UInt64.random(in: 0...1 << 40, using: &generator) & ~3
            let count = Int.random(in: 1...4 << 20, using: &generator)
            let slot = Int.random(in: 0...2, using: &generator)
            let listOffset = Int.random(in: 0...511, using: &generator) * 8
            try check(address, count, slot: slot, listOffset: listOffset)
        }
    }

    /// A list does not run into the next one's place.
    @Test func tooLong() throws {
        let memory = try MappedMemory(
            privateCount: 4096 + PRPList.byteCount(commands: 2, transfer: 16384))
        let list = try PRPList(memory, at: 0, iova: 0, commands: 2, transfer: 16384)
        _ = try DataPointer(pages: 0x10ffc, 16384, list, 0)
        #expect(throws: Errno.invalidArgument) { _ = try DataPointer(pages: 0x10000, 65536, list, 0) }
        #expect(throws: Errno.invalidArgument) { _ = try DataPointer(pages: 0x10000, 65536, list, 1) }
        #expect(throws: Errno.invalidArgument) {
            _ = try PRPList(memory, at: 8192, iova: 0, commands: 2, transfer: 16384)
        }
    }

    @Test func dataBlocks() {
        let block = DataPointer(block: 0x1234_5678_9abc, 0x10000)
        #expect(block.first == 0x1234_5678_9abc && block.second == 0x10000)
    }
}
