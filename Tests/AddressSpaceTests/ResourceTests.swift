import Glibc
import SystemPackage
import Testing
import VFIOUserSystem

@testable import VFIOUserAddressSpace

/// Nothing is left behind, and size costs little.
@Suite struct ResourceTests {
    @Test func oneDescriptorPerFile() throws {
        let file = try TestFile(pages: 100)
        let other = try TestFile(pages: 1)
        let table = try IOASTable.legacy()
        for index in UInt64(0)..<100 { try table.map(index << 12, 4096, file, offset: (99 - index) << 12) }
        try table.map(1 << 30, 4096, other)
        #expect(try file.descriptorCount() == 1)
        #expect(try other.descriptorCount() == 1)
        for index in UInt64(0)..<99 { try table.unmap(index << 12, 4096) }
        #expect(try file.descriptorCount() == 1)
        #expect(try file.mappings().count == 1)
        try table.unmap(99 << 12, 4096)
        #expect(try file.descriptorCount() == 0)
        #expect(try file.mappings().isEmpty)
        #expect(table.fileCount == 1)
    }

    @Test func everythingGoesWithTheConnection() throws {
        let file = try TestFile(pages: 4)
        let table = try IOASTable.legacy()
        for _ in 0..<3 {
            table.beginLegacy()
            for index in UInt64(0)..<200 {
                let flags: UInt32 = index % 3 == 0 ? 11 : 7
                try table.map(index << 13, 4096, file, flags: flags, offset: index % 4 << 12)
            }
            #expect(table.count == 200)
            if table.loggingPageSize == 0 { try table.startLogging(pageSize: 4096) }
            table.endConnection()
            #expect(table.count == 0 && table.fileCount == 0)
            #expect(try file.mappings().isEmpty)
            #expect(try file.descriptorCount() == 0)
        }
    }

    @Test func everythingGoesWithTheTable() throws {
        let file = try TestFile(pages: 4)
        do {
            let table = try IOASTable.ioas()
            let id = try table.allocate()
            _ = try table.map(in: id, 0, 4096, file)
            _ = try table.copy(from: id, 0, 4096, to: id, .fixed(1 << 20), .read)
            _ = try table.map(in: table.allocate(), 0, 4096, file)
        }
        #expect(try file.mappings().isEmpty)
        #expect(try file.descriptorCount() == 0)
    }

    @Test func cycles() throws {
        let file = try TestFile(pages: 2)
        let table = try IOASTable.legacy(limit: 4)
        try table.startLogging(pageSize: 1024)
        for index in UInt64(0)..<10_000 {
            let (address, offset) = (index << 12, index % 4096)
            try table.map(address, 4096, file, offset: offset)
            try table.unmap(address, 4096)
        }
        for index in UInt64(0)..<10_000 {
            // Fails at every stage there is.
            let failed = errno {
                switch index % 5 {
                case 0: try table.map(0, 4096, file, offset: UInt64.max - index)
                case 1: try table.map(0, 0, file)
                case 2: try table.map(0, 4096, file, flags: 16)
                case 3: try table.map(0, 100, file)
                default: try table.map(UInt64.max, 4096, file)
                }
            }
            #expect(failed != nil)
        }
        #expect(try file.mappings().isEmpty)
        #expect(try file.descriptorCount() == 0)
        #expect(table.count == 0 && table.fileCount == 0)
    }

    /// The default limit, and the first beyond it. Messages, because the kernel has a limit of its own on
    /// mmaps.
    @Test func manyMappings() throws {
        let table = try IOASTable.legacy()
        let translator = table.translator
        #expect(table.limit == 65_535)
        for index in UInt64(0)..<65_535 { try table.map(index << 13, 4096, nil) }
        #expect(errno { try table.map(65_535 << 13, 4096, nil) } == .invalidArgument)
        var random = Seeded(1)
        for _ in 0..<10_000 {
            let index = random.below(65_535)
            #expect(translator.answer((index << 13) + 8, 8).pieces == [[index << 13, 8, 8, 1]])
            #expect(translator.answer((index << 13) + 4096, 8).error == .noSuchFileOrDirectory)
        }
        // Slots are used again.
        for index in UInt64(0)..<65_535 where index % 2 == 0 { try table.unmap(index << 13, 4096) }
        for index in UInt64(0)..<65_535 where index % 2 == 0 { try table.map((index << 13) + 4096, 8, nil) }
        #expect(table.count == 65_535)
    }

    @Test func limits() throws {
        #expect(try IOASTable(limit: -1).limit == 0)
        #expect(try IOASTable(limit: 1_000_000).limit == 1_000_000)
        #expect(try IOASTable(limit: Int.max).limit == 1 << 24)
    }

    /// Mappings that neighbour in memory are unmapped together; those of others are not.
    @Test func removingAllLeavesOthers() throws {
        let file = try TestFile(pages: 64)
        let table = try IOASTable.ioas()
        let (one, two) = (try table.allocate(), try table.allocate())
        for index in UInt64(0)..<64 {
            _ = try table.map(in: index % 3 == 0 ? two : one, index << 12, 4096, file, offset: index << 12)
        }
        try table.removeAll(in: one)
        try table.attach(two)
        for index in stride(from: UInt64(0), to: 64, by: 3) {
            try file.bytes.writeAll(toAbsoluteOffset: Int64(index) << 12, [UInt8(index)])
            let entry = try table.translator.entry(index << 12, 1)
            #expect(try table.translator.peek(entry) == UInt8(index))
        }
        try table.removeAll(in: two)
        #expect(try file.mappings().isEmpty)
        #expect(errno { try table.removeAll(in: 9) } == .noSuchFileOrDirectory)
    }
}
