import SystemPackage
import Testing
import VFIOUserSystem

@testable import VFIOUserAddressSpace

@Suite struct PlacementTests {
    @Test func fillsTheLowestGap() throws {
        let table = try IOASTable.ioas()
        let id = try table.allocate()
        func place(_ length: UInt64, alignment: UInt64 = 1, _ window: ClosedRange<UInt64> = 0x1000...0xffff)
            throws
            -> UInt64
        {
            try table.map(in: id, .lowest(window, alignment: alignment), length, nil).iova
        }
        #expect(try place(0x1000) == 0x1000)
        #expect(try place(0x800) == 0x2000)
        #expect(try place(0x1000) == 0x2800)
        #expect(try place(0x100, alignment: 0x1000) == 0x4000)
        #expect(try place(0x800) == 0x3800)
        #expect(try place(0x1000, alignment: 0x1000) == 0x5000)
        table.remove(try table.mapping(in: id, exactly: 0x2000, 0x800))
        #expect(try place(0x900) == 0x4100)
        #expect(try place(0x400) == 0x2000)
        #expect(errno { _ = try place(0xf001) } == .noSpace)
        #expect(errno { _ = try place(0xb000) } == .noSpace)
        #expect(try place(0xa000) == 0x6000)
        #expect(errno { _ = try place(1, 0x6000...0x6fff) } == .noSpace)
        #expect(try place(1, 0xfff...0x2fff) == 0xfff)
        #expect(try place(2, UInt64.max - 1...UInt64.max) == UInt64.max - 1)
        #expect(errno { _ = try place(1, UInt64.max...UInt64.max) } == .noSpace)
    }

    /// Against a search from the beginning each time.
    @Test func likeAModel() throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = Seeded(seed)
        let table = try IOASTable.ioas()
        let id = try table.allocate()
        let window: ClosedRange<UInt64> = 100...4000
        var taken: [(first: UInt64, last: UInt64)] = []
        for _ in 0..<1500 {
            if random.below(5) < 3 {
                let length = 1 + random.below(random.below(4) == 0 ? 300 : 20)
                let alignment = UInt64(1) << random.below(6)
                let expected = stride(from: 0, through: window.upperBound, by: Int(alignment)).first {
                    start in
                    let last = start + (length - 1)
                    return start >= window.lowerBound && last <= window.upperBound
                        && !taken.contains { $0.first <= last && $0.last >= start }
                }
                let mapping = try? table.map(in: id, .lowest(window, alignment: alignment), length, nil)
                #expect(mapping?.iova == expected, "seed \(seed)")
                if let expected { taken.append((expected, expected + (length - 1))) }
            } else if !taken.isEmpty {
                let victim = taken.remove(at: Int(random.below(UInt64(taken.count))))
                table.remove(try table.mapping(in: id, exactly: victim.first, victim.last - victim.first + 1))
            }
        }
    }

    /// Filling up must not take time by the square: 65,535 searches from the beginning would be 2^31 steps.
    @Test(.timeLimit(.minutes(1)))
    func fillsUpQuickly() throws {
        let table = try IOASTable.ioas()
        let id = try table.allocate()
        for index in 0..<65_535 {
            // A gap too small for most stays behind each, and a small one is asked for now and then.
            let length: UInt64 = index % 7 == 0 ? 3000 : 4096 + UInt64(index % 3)
            _ = try table.map(in: id, .lowest(0x1000...1 << 47, alignment: 4096), length, nil)
        }
        #expect(errno { _ = try table.map(in: id, .lowest(0x1000...1 << 47), 1, nil) } == .noSpace)
    }

    @Test func serverAddress() throws {
        let file = try TestFile(pages: 4)
        let table = try IOASTable.ioas()
        let (one, two) = (try table.allocate(), try table.allocate())
        let placement = Placement.serverAddress(otherwise: 0x1000...0xffff)
        let first = try table.map(in: one, placement, 0x1800, file, offset: 0x1200)
        let address = UInt64(UInt(bitPattern: unsafe first.address))
        #expect(address == first.iova)
        #expect(address & 0xfff == 0x200)
        #expect(try table.map(in: one, placement, 0x1800, nil).iova == 0x1000)
        // Elsewhere the same address is free: one mmap. Here it is taken: another.
        let shared = try table.copy(from: one, address, 0x1800, to: two, placement, .read)
        #expect(shared.iova == address)
        #expect(try file.mappings().count == 1)
        let moved = try table.copy(from: one, address, 0x1800, to: one, placement, .read)
        #expect(moved.iova == UInt64(UInt(bitPattern: unsafe moved.address)))
        #expect(moved.iova != address && moved.iova & 0xfff == 0x200)
        #expect(try file.mappings().count == 2)
        try file.bytes.writeAll(toAbsoluteOffset: 0x1200, [11])
        try table.attach(one)
        let translator = table.translator
        #expect(try translator.peek(translator.entry(moved.iova, 1, .read)) == 11)
        table.remove(first)
        try table.destroy(two)
        #expect(try file.mappings().count == 1)
        table.remove(moved)
        #expect(try file.mappings().isEmpty)
    }

    /// A fixed mapping where the kernel would put the next mmap.
    @Test func serverAddressTaken() throws {
        let file = try TestFile(pages: 1)
        let table = try IOASTable.ioas()
        let id = try table.allocate()
        let placement = Placement.serverAddress(otherwise: 0x1000...0xffff)
        let probe = try table.map(in: id, placement, 4096, file)
        let address = probe.iova
        table.remove(probe)
        // Where the probe was, and where the next two would go.
        _ = try table.map(in: id, address - 8192, 12288, nil)
        let mapping = try table.map(in: id, placement, 4096, file)
        #expect(mapping.iova == UInt64(UInt(bitPattern: unsafe mapping.address)))
        #expect(try file.mappings().count == 1)
        // All of user space: there is no elsewhere.
        let other = try table.allocate()
        _ = try table.map(in: other, 0, 1 << 47, nil)
        #expect(errno { _ = try table.map(in: other, placement, 4096, file) } == .addressInUse)
        #expect(try file.mappings().count == 1)
        #expect(try file.descriptorCount() == 1)
    }
}
