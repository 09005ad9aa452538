import Glibc
import SystemPackage
import Testing
import VFIOUserSystem

@testable import VFIOUserAddressSpace

/// DMA_MAP and DMA_UNMAP.
@Suite struct LegacyMapTests {
    static let tebi: UInt64 = 1 << 40

    @Test(arguments: [4, 8, 12, 5, 8 | 3, 16, 1 << 31] as [UInt32])
    func flagsWithoutDescriptor(flags: UInt32) throws {
        let table = try IOASTable.legacy()
        #expect(errno { try table.map(0, 4096, nil, flags: flags) } == .invalidArgument)
        #expect(table.count == 0)
    }

    @Test(arguments: [12, 15, 16, 0x8000_0003] as [UInt32])
    func flagsWithDescriptor(flags: UInt32) throws {
        let file = try TestFile(pages: 1)
        let table = try IOASTable.legacy()
        #expect(errno { try table.map(0, 4096, file, flags: flags) } == .invalidArgument)
        #expect(try file.descriptorCount() == 0)
    }

    @Test(
        arguments: [
            (0, AccessMode.mapped), (3, .mapped), (7, .mapped), (4, .mapped), (11, .fileIO), (8, .fileIO),
        ] as [(UInt32, AccessMode)])
    func modes(flags: UInt32, mode: AccessMode) throws {
        let file = try TestFile(pages: 1)
        let table = try IOASTable.legacy()
        let mapping = try table.map(0, 4096, file, flags: flags).mapping
        #expect(mapping.mode == mode)
        #expect(mapping.rights.rawValue == UInt8(flags & 3))
        let isMapped = unsafe mapping.address != nil
        #expect(isMapped == (mode == .mapped))
        #expect(try file.mappings().count == (mode == .mapped ? 1 : 0))
    }

    /// Flags before size, size before ranges.
    @Test func orderOfErrors() throws {
        let table = try IOASTable.legacy()
        #expect(errno { try table.map(0, 9 * Self.tebi, nil, flags: 4) } == .invalidArgument)
        #expect(errno { try table.map(UInt64.max, 9 * Self.tebi, nil) } == .noSpace)
        #expect(errno { try table.map(0, 8 * Self.tebi + 1, nil) } == .noSpace)
        #expect(errno { try table.map(0, 0, nil) } == .invalidArgument)
        #expect(errno { try table.map(UInt64.max, 2, nil) } == .invalidArgument)
        #expect(errno { try table.map(UInt64.max - 4095, 4097, nil) } == .invalidArgument)
        #expect(table.count == 0)
        try table.map(0, 8 * Self.tebi, nil)
    }

    @Test func rangeMayEndAtTheTop() throws {
        let table = try IOASTable.legacy()
        try table.map(UInt64.max - 4095, 4096, nil)
        #expect(table.translator.answer(UInt64.max, 1).pieces == [[UInt64.max - 4095, 4095, 1, 1]])
        #expect(errno { try table.map(UInt64.max, 1, nil) } == .invalidArgument)
        try table.map(0, 1, nil)
        // Wrapping from one to the other is no range.
        #expect(table.translator.answer(UInt64.max, 2).error == .noSuchFileOrDirectory)
    }

    @Test func overlaps() throws {
        let table = try IOASTable.legacy()
        try table.map(0x2000, 0x2000, nil)
        for (address, size) in [
            (0x1000, 0x1001), (0x2000, 0x1000), (0x2000, 0x2001), (0x1fff, 0x2001), (0x3fff, 1), (0, 0x10000),
            (0x2001, 1),
        ] as [(UInt64, UInt64)] {
            #expect(errno { try table.map(address, size, nil) } == .invalidArgument)
        }
        try table.map(0x1000, 0x1000, nil)
        try table.map(0x4000, 1, nil)
        #expect(table.count == 3)
    }

    @Test func identicalMappingIsThere() throws {
        let file = try TestFile(pages: 4)
        let other = try TestFile(pages: 4)
        let table = try IOASTable.legacy()
        let first = try table.map(0x1000, 0x1000, file, flags: 3, offset: 0x1000)
        guard case .created(let mapping) = first else {
            Issue.record("not created")
            return
        }
        let entry = try table.translator.entry(0x1000, 1)
        // The access mode is not compared, and the old one stays.
        for flags in [3, 7, 11] as [UInt32] {
            guard case .existing(let same) = try table.map(0x1000, 0x1000, file, flags: flags, offset: 0x1000)
            else {
                Issue.record("not found")
                return
            }
            #expect(same == mapping)
            #expect(same.mode == .mapped)
        }
        #expect(table.translator.isMappable(entry))
        #expect(errno { try table.map(0x1000, 0x1000, file, flags: 3, offset: 0) } == .invalidArgument)
        #expect(errno { try table.map(0x1000, 0x1000, file, flags: 1, offset: 0x1000) } == .invalidArgument)
        #expect(errno { try table.map(0x1000, 0x1000, other, flags: 3, offset: 0x1000) } == .invalidArgument)
        #expect(errno { try table.map(0x1000, 0x1000, nil, flags: 3, offset: 0x1000) } == .invalidArgument)
        #expect(try file.descriptorCount() == 1)
        #expect(try other.descriptorCount() == 0)
        #expect(try file.mappings().count == 1)
        #expect(table.count == 1)
    }

    /// Existing mappings are found at the limit too; without room everything else is refused.
    @Test func limit() throws {
        let table = try IOASTable.legacy(limit: 64)
        for index in UInt64(0)..<64 { try table.map(index << 12, 4096, nil) }
        #expect(errno { try table.map(64 << 12, 4096, nil) } == .invalidArgument)
        guard case .existing = try table.map(63 << 12, 4096, nil) else {
            Issue.record("not found")
            return
        }
        try table.unmap(5 << 12, 4096)
        try table.map(64 << 12, 4096, nil)
        #expect(table.count == 64)
        let none = try IOASTable.legacy(limit: 0)
        #expect(errno { try none.map(0, 4096, nil) } == .invalidArgument)
        #expect(none.translator.answer(0, 1).error == .noSuchFileOrDirectory)
    }

    @Test func mmapErrors() throws {
        let table = try IOASTable.legacy()
        let file = try TestFile(pages: 1)
        func map(_ descriptor: consuming OwnedFD, flags: UInt32, offset: UInt64 = 0) -> Errno? {
            do {
                _ = try table.map(
                    LegacyMap(flags: flags, offset: offset, address: 0, size: 4096), descriptor)
                return nil
            } catch { return error }
        }
        #expect(map(try file.opened(.readOnly), flags: 3) == .permissionDenied)
        #expect(map(try file.descriptor(), flags: 3, offset: UInt64.max) == .overflow)
        #expect(map(try file.descriptor(), flags: 3, offset: UInt64.max - 8191) == .overflow)
        #expect(map(try file.descriptor(), flags: 3, offset: 1 << 63) == .overflow)
        #expect(map(try file.descriptor(), flags: 3, offset: UInt64(Int64.max) - 4095) == .overflow)
        var pipes: [CInt] = [0, 0]
        try #require(unsafe pipe(&pipes) == 0)
        close(pipes[1])
        #expect(map(OwnedFD(adopting: pipes[0]), flags: 3) == .permissionDenied)
        #expect(try file.descriptorCount() == 0)
        #expect(try file.mappings().isEmpty)
        #expect(table.fileCount == 0)
        // The rights of the client's own descriptor decide, whatever descriptor of the file is kept.
        try table.map(0x10000, 4096, file)
        #expect(map(try file.opened(.readOnly), flags: 3) == .permissionDenied)
        #expect(map(try file.opened(.readOnly), flags: 1) == nil)
    }

    /// What is mapped may end behind its file, unless something is asked of files.
    @Test(arguments: [3, 7, 11] as [UInt32]) func behindTheFile(flags: UInt32) throws {
        let file = try TestFile(pages: 1)
        let table = try IOASTable.legacy()
        try table.map(0x10000, 0x2000, file, flags: flags)
        table.filePolicy = FilePolicy(guardsCopies: true)
        for (offset, size) in [(0, 0x1001), (1, 0x1000), (0x1000, 0x1000), (0, 1 << 30)] as [(UInt64, UInt64)]
        {
            let error = errno { try table.map(0x20000, size, file, flags: flags, offset: offset) }
            #expect(error == .invalidArgument)
        }
        #expect(table.count == 1)
        #expect(try file.descriptorCount() == 1)
        try table.map(0x20000, 0x1000, file, flags: flags)
        table.filePolicy = FilePolicy()
        try table.map(0x30000, 0x2000, file, flags: flags)
    }

    /// Neither offset nor size need be aligned: the mmap covers both ends.
    @Test func unalignedOffset() throws {
        let file = try TestFile(pages: 3)
        let table = try IOASTable.legacy()
        let mapping = try table.map(0x777, 0x1000, file, offset: 0xfff).mapping
        let mapped = unsafe mapping.info.load(fromByteOffset: 32, as: UInt64.self)
        #expect(mapped == 0x2000)
        try file.bytes.writeAll(toAbsoluteOffset: 0xfff, [7])
        try file.bytes.writeAll(toAbsoluteOffset: 0x1ffe, [9])
        let translator = table.translator
        #expect(try translator.peek(translator.entry(0x777, 1)) == 7)
        #expect(try translator.peek(translator.entry(0x777 + 0xfff, 1)) == 9)
        try table.unmap(0x777, 0x1000)
        #expect(try file.mappings().isEmpty)
    }

    /// The mmap has the client's rights and is left out of core dumps.
    @Test(arguments: [(0, "---s"), (1, "r--s"), (2, "-w-s"), (3, "rw-s")] as [(UInt32, String)])
    func protection(flags: UInt32, shown: String) throws {
        let file = try TestFile(pages: 1)
        let table = try IOASTable.legacy()
        try table.map(0, 4096, file, flags: flags)
        #expect(try file.mappings().first?.contains(" \(shown) ") == true)
    }

    @Test func unmapNeedsAnExactMatch() throws {
        let table = try IOASTable.legacy()
        try table.map(0x1000, 0x2000, nil)
        for (address, size) in [
            (0x1000, 0x1000), (0x1000, 0x3000), (0x2000, 0x1000), (0, 0x3000), (0x1000, 0),
        ]
            as [(UInt64, UInt64)]
        {
            #expect(errno { try table.unmap(address, size) } == .noSuchFileOrDirectory)
        }
        try table.unmap(0x1000, 0x2000)
        #expect(errno { try table.unmap(0x1000, 0x2000) } == .noSuchFileOrDirectory)
        #expect(table.count == 0)
    }

    @Test func withoutCompatibilityIOAS() throws {
        let table = try IOASTable()
        table.beginIOAS()
        #expect(errno { try table.map(0, 4096, nil) } == .operationNotSupportedByDevice)
    }
}
