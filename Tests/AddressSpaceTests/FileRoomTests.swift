import Glibc
import SystemPackage
import Testing
import VFIOUserSystem
import VFIOUserTestSupport

@testable import VFIOUserAddressSpace

private let page: UInt64 = 4096

/// Mappings of neighbouring parts of a file take one mapping of the process.
///
/// What counts them runs in a process of its own: nothing is reserved, and other tests map memory too.
@Suite struct FileRoomTests {
    /// Maps pages of the file, each at the IOVA that is its offset.
    func map(_ table: IOASTable, _ file: TestFile, _ pages: some Sequence<Int>) throws {
        for number in pages {
            let offset = UInt64(number) * page
            try table.map(offset, page, file, offset: offset)
        }
    }

    /// A table in which the file is mapped once, so that all else is of its room.
    func table(with file: TestFile, limit: Int = IOASTable.defaultLimit) throws -> IOASTable {
        let table = try IOASTable.legacy(limit: limit)
        try table.map(1 << 40, page, file, flags: 1)
        #expect(try file.mappings().count == 1)
        return table
    }

    /// The first byte of each page says which it is.
    func number(_ file: TestFile, _ pages: Int) throws {
        for page in 0..<pages {
            let bytes = [UInt8(truncatingIfNeeded: page &* 31 + 7)]
            #expect(try file.bytes.writeAll(toAbsoluteOffset: Int64(page * 4096), bytes) == 1)
        }
    }

    func expectNumbers(_ table: IOASTable, _ pages: some Sequence<Int>) throws {
        for number in pages {
            let entry = try table.translator.entry(UInt64(number) * page, 1)
            #expect(try table.translator.peek(entry) == UInt8(truncatingIfNeeded: number &* 31 + 7))
        }
    }

    @Test(arguments: [Array(0..<8), Array((0..<8).reversed()), [3, 0, 7, 4, 1, 6, 2, 5]])
    func neighboursJoin(_ order: [Int]) async {
        await #expect(processExitsWith: .success) { [order] in
            let tests = FileRoomTests()
            let file = try TestFile(pages: 8)
            let table = try tests.table(with: file)
            try tests.number(file, 8)
            try tests.map(table, file, order)
            #expect(try file.mappings().count == 2)
            try tests.expectNumbers(table, order)
            // A hole makes two of it, and what fills the hole one again.
            try table.unmap(3 * page, page)
            #expect(try file.mappings().count == 3)
            try tests.map(table, file, [3])
            #expect(try file.mappings().count == 2)
            try tests.expectNumbers(table, order)
            table.endConnection()
            #expect(try file.mappings().isEmpty)
        }
    }

    /// The parts need not begin or end where pages do.
    @Test func oddParts() async {
        await #expect(processExitsWith: .success) {
            let tests = FileRoomTests()
            let file = try TestFile(pages: 8)
            let table = try tests.table(with: file)
            try tests.number(file, 8)
            try table.map(0x10_0000, 5000, file, offset: 100)
            try table.map(0x20_0000, 4000, file, offset: 5100)
            try table.map(0x30_0000, 4096, file, offset: 4 * 4096)
            let entry = try table.translator.entry(0x20_0000 + 2 * 4096 - 5100, 1)
            #expect(try table.translator.peek(entry) == 2 * 31 + 7)
            #expect(try file.mappings().count == 4)
        }
    }

    /// The same pages again are mapped elsewhere, as are parts with other rights.
    @Test func aliasesAndRights() async {
        await #expect(processExitsWith: .success) {
            let tests = FileRoomTests()
            let file = try TestFile(pages: 4)
            let table = try tests.table(with: file)
            try tests.number(file, 4)
            try tests.map(table, file, 0..<2)
            try table.map(0x10_0000, 2 * page, file)
            try table.map(2 * page, page, file, flags: 1, offset: 2 * page)
            #expect(try file.mappings().count == 4)
            try tests.expectNumbers(table, 0..<2)
            let alias = try table.translator.entry(0x10_0000 + page, 1)
            #expect(try table.translator.peek(alias) == 31 + 7)
            let readOnly = try table.translator.entry(2 * page, 1, .read)
            #expect(try table.translator.peek(readOnly) == 2 * 31 + 7)
            try table.unmap(0, page)
            #expect(try table.translator.peek(alias) == 31 + 7)
        }
    }

    /// A part that continues another is mapped with the rights of its own descriptor, whatever the other's had.
    @Test func everyDescriptorCounts() async {
        await #expect(processExitsWith: .success) {
            let tests = FileRoomTests()
            let file = try TestFile(pages: 8)
            let table = try tests.table(with: file)
            try tests.number(file, 8)
            try tests.map(table, file, 0..<2)
            let next = LegacyMap(flags: 3, offset: 2 * page, address: 2 * page, size: page)
            #expect(errno { _ = try table.map(next, file.opened(.readOnly)) } == .permissionDenied)
            #expect(errno { _ = try table.map(next, file.opened(.writeOnly)) } == .permissionDenied)
            #expect(try file.mappings().count == 2)
            _ = try table.map(next, file.opened(.readWrite))
            #expect(try file.mappings().count == 2)
            try tests.expectNumbers(table, 0..<3)
            let readOnly = LegacyMap(flags: 1, offset: 3 * page, address: 3 * page, size: page)
            _ = try table.map(readOnly, file.opened(.readOnly))
            #expect(try file.mappings().count == 3)
        }
    }

    /// What a mapping leaves behind is not continued: something else may be there by now.
    @Test func nothingContinuesWhatHasGone() async {
        await #expect(processExitsWith: .success) {
            let tests = FileRoomTests()
            let file = try TestFile(pages: 8)
            let table = try tests.table(with: file)
            try tests.number(file, 8)
            try tests.map(table, file, 0..<2)
            let last = try table.translator.entry(page, 1)
            let place = UInt(bitPattern: try unsafe table.translator.localAddress(of: last))
            try table.unmap(page, page)
            let other = unsafe mmap(
                UnsafeMutableRawPointer(bitPattern: place), 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                0)
            #expect(unsafe other == UnsafeMutableRawPointer(bitPattern: place))
            defer { unsafe munmap(other, 4096) }
            try tests.map(table, file, [2])
            try tests.expectNumbers(table, [0, 2])
            // Nothing of it has grown into the room, where the page was read that was mapped last.
            try table.unmap(2 * page, page)
            #expect(try file.mappings().count == 2)
        }
    }

    /// Memory that is left for later is unmapped by one call for all that lie side by side, at the latest before more
    /// is mapped.
    @Test func settling() async {
        await #expect(processExitsWith: .success) {
            let tests = FileRoomTests()
            let file = try TestFile(pages: 8)
            let table = try tests.table(with: file)
            try tests.map(table, file, 0..<8)
            let id = try #require(table.compatibilityID)
            for number in UInt64(0)..<8 {
                table.retire(try table.mapping(in: id, exactly: number * page, page))
                #expect(throws: Errno.self) { try table.translator.entry(number * page, 1) }
            }
            #expect(table.count == 1)
            #expect(try file.mappings().count == 2)
            table.settle()
            #expect(try file.mappings().count == 1)
            try tests.map(table, file, 0..<2)
            table.retire(try table.mapping(in: id, exactly: page, page))
            try tests.map(table, file, [1])
            #expect(try file.mappings().count == 2)
            table.retire(try table.mapping(in: id, exactly: 0, page))
            table.endConnection()
            #expect(try file.mappings().isEmpty)
        }
    }

    /// More than a process may have mappings, by default.
    @Test func seventyThousand() async {
        await #expect(processExitsWith: .success) {
            let tests = FileRoomTests()
            let pages = 70_000
            let file = try TestFile(pages: pages)
            let table = try tests.table(with: file, limit: 1 << 17)
            try tests.number(file, 100)
            try tests.map(table, file, 0..<pages)
            #expect(table.count == pages + 1)
            #expect(try file.mappings().count == 2)
            try tests.expectNumbers(table, 0..<100)
            for number in stride(from: 0, to: pages / 4, by: 2) {
                try table.unmap(UInt64(number) * page, page)
            }
            try tests.expectNumbers(table, stride(from: 1, to: 100, by: 2))
            #expect(throws: Errno.self) { try table.translator.entry(0, 1) }
            try tests.map(table, file, stride(from: 0, to: pages / 4, by: 2))
            #expect(try file.mappings().count == 2)
            try tests.expectNumbers(table, 0..<100)
            table.endConnection()
            #expect(try file.mappings().isEmpty)
            #expect(try file.descriptorCount() == 0)
        }
    }

    @Test func roomForAPart() throws {
        let file = try TestFile(pages: 16)
        let status = try FileStatus(of: file.bytes)
        let room = try #require(FileRoom(status, block: page))
        let first = room.place(0, page)
        #expect(first != 0 && first % (2 << 20) == 0)
        #expect(room.place(15 * page, page) == first + 15 * 4096)
        #expect(room.place(15 * page, 2 * page) == 0)
        #expect(room.place(16 * page, page) == 0)
        #expect(room.place(.max - 4095, page) == 0)
    }

    /// A process with as many mappings as it may have cannot unmap the middle of one.
    @Test(.disabled(if: isSanitized, "sanitizers need mappings"))
    func unmappingAtTheLimit() async {
        await #expect(processExitsWith: .success) {
            let file = try TestFile(pages: 8)
            let table = try IOASTable.legacy()
            try table.map(1 << 40, page, file, flags: 1)
            for index in UInt64(0)..<8 { try table.map(index * page, page, file, offset: index * page) }
            let joined = try file.mappings().count
            let filling = try Filling()
            try table.unmap(3 * page, page)
            let waiting = UnmapBacklog.byteCount
            let isSeen = (try? table.translator.entry(3 * page, 1)) != nil
            filling.clear()
            let before = try file.mappings().count
            try table.unmap(7 * page, page)
            let after = UnmapBacklog.byteCount
            let parts = try file.mappings().count
            table.endConnection()
            let left = try file.mappings().count
            guard joined == 2, waiting == 4096, !isSeen, before == 2, after == 0, parts == 3,
                left == 0
            else {
                print(joined, waiting, isSeen, before, after, parts, left)
                exit(1)
            }
        }
    }

    /// What could not be unmapped is when the connection ends, at the latest.
    @Test(.disabled(if: isSanitized, "sanitizers need mappings"))
    func leavingAtTheLimit() async {
        await #expect(processExitsWith: .success) {
            let file = try TestFile(pages: 64)
            let table = try IOASTable.legacy()
            try table.map(1 << 40, page, file, flags: 1)
            for index in UInt64(0)..<64 { try table.map(index * page, page, file, offset: index * page) }
            let filling = try Filling()
            for index in stride(from: UInt64(1), to: 63, by: 2) { try table.unmap(index * page, page) }
            let waiting = UnmapBacklog.byteCount
            table.endConnection()
            let left = UnmapBacklog.byteCount
            filling.clear()
            let parts = try file.mappings().count
            guard waiting == 31 * 4096, left == 0, parts == 0 else {
                print(waiting, left, parts)
                exit(1)
            }
        }
    }
}

/// Takes every mapping that the process may still have.
private final class Filling {
    private let memory: MemoryMapping

    init() throws {
        memory = try MemoryMapping(reserving: 1 << 34)
        let base = unsafe try #require(memory.base)
        // Every other page with other rights: each is a mapping, and so is what lies between. All is in `memory`.
        var filled = 0
        while unsafe mprotect(base + 8192 * filled, 4096, PROT_NONE) == 0 { filled += 1 }
        // Those were two more each; this is one.
        let left = 8192 * filled + 4096
        _ = unsafe mprotect(base + left, memory.length - left, PROT_NONE)
    }

    /// All of the same rights again: one mapping.
    func clear() {
        // The range is as long as the mapping.
        if let base = unsafe memory.base { _ = unsafe mprotect(base, memory.length, PROT_NONE) }
    }
}
