import SystemPackage
import Testing
import VFIOUserSystem

@testable import VFIOUserAddressSpace

extension IOASTable {
    static func ioas(limit: Int = defaultLimit, spaceLimit: Int = 64) throws -> IOASTable {
        let table = try IOASTable(limit: limit, spaceLimit: spaceLimit)
        table.beginIOAS()
        return table
    }

    /// IOAS_MAP at a fixed address.
    func map(
        in id: UInt32, _ iova: UInt64, _ length: UInt64, _ file: TestFile?, offset: UInt64 = 0,
        _ rights: AccessRights = .readWrite
    ) throws -> Mapping {
        try map(in: id, .fixed(iova), length, file, offset: offset, rights)
    }

    func map(
        in id: UInt32, _ placement: Placement, _ length: UInt64, _ file: TestFile?, offset: UInt64 = 0,
        _ rights: AccessRights = .readWrite
    ) throws -> Mapping {
        let request = IOASMap(
            ioas: id, rights: rights, userAddress: 0xabc000, length: length, offset: offset,
            placement: placement)
        return try map(request, file?.descriptor())
    }
}

@Suite struct IOASTests {
    @Test func ids() throws {
        let table = try IOASTable.ioas(spaceLimit: 3)
        #expect(try table.allocate() == 1)
        #expect(try table.allocate() == 2)
        #expect(try table.allocate() == 3)
        #expect(errno { _ = try table.allocate() } == .noSpace)
        try table.destroy(2)
        #expect(try table.allocate() == 4)
        for id in [0, 2, 5, UInt32.max] as [UInt32] {
            #expect(errno { try table.destroy(id) } == .noSuchFileOrDirectory)
            #expect(errno { try table.attach(id) } == .noSuchFileOrDirectory)
            #expect(errno { try table.setCompatibility(id) } == .noSuchFileOrDirectory)
            #expect(errno { _ = try table.map(in: id, 0, 1, nil) } == .noSuchFileOrDirectory)
        }
        table.beginIOAS()
        #expect(try table.allocate() == 1)
    }

    @Test func attachAndDetach() throws {
        let file = try TestFile(pages: 2)
        let table = try IOASTable.ioas()
        let translator = table.translator
        let (one, two) = (try table.allocate(), try table.allocate())
        _ = try table.map(in: one, 0x1000, 0x1000, file)
        let second = try table.map(in: two, 0x2000, 0x1000, file)
        func sees(_ address: UInt64) -> Bool { translator.answer(address, 1).count == 1 }
        #expect(!sees(0x1000) && !sees(0x2000))
        #expect(errno { try table.detach() } == .invalidArgument)
        try table.attach(one)
        #expect(table.attachedID == one)
        #expect(sees(0x1000) && !sees(0x2000))
        try table.attach(one)
        #expect(errno { try table.destroy(one) } == .resourceBusy)
        let entry = try translator.entry(0x1000, 1)
        try table.attach(two)
        #expect(!sees(0x1000) && sees(0x2000))
        #expect(errno { _ = try translator.peek(entry) } == .invalidArgument)
        // A mapping made or removed out of sight is not seen.
        _ = try table.map(in: one, 0x8000, 0x1000, nil)
        #expect(!sees(0x8000))
        try table.destroy(one)
        table.remove(second)
        #expect(!sees(0x2000))
        _ = try table.map(in: two, 0x3000, 0x1000, nil)
        #expect(sees(0x3000))
        try table.detach()
        #expect(!sees(0x3000))
        #expect(table.attachedID == nil)
        #expect(table.count == 1)
        try table.destroy(two)
        #expect(table.count == 0 && table.fileCount == 0)
        #expect(try file.mappings().isEmpty)
    }

    @Test func compatibility() throws {
        let table = try IOASTable.ioas()
        #expect(table.compatibilityID == nil)
        let id = try table.allocate()
        try table.setCompatibility(id)
        #expect(table.compatibilityID == id)
        // Each protocol sees what the other made.
        try table.map(0x1000, 0x1000, nil)
        #expect(try table.mapping(in: id, exactly: 0x1000, 0x1000).iova == 0x1000)
        #expect(errno { _ = try table.map(in: id, 0x1800, 1, nil) } == .fileExists)
        _ = try table.map(in: id, 0x4000, 0x1000, nil)
        #expect(errno { try table.map(0x4800, 1, nil) } == .invalidArgument)
        try table.unmap(0x4000, 0x1000)
        try table.setCompatibility(nil)
        #expect(errno { try table.map(0, 1, nil) } == .operationNotSupportedByDevice)
        try table.setCompatibility(id)
        try table.destroy(id)
        #expect(table.compatibilityID == nil)
    }

    @Test func legacyConnection() throws {
        let table = try IOASTable(limit: 8)
        table.beginLegacy()
        #expect(table.attachedID == 1 && table.compatibilityID == 1)
        try table.map(0, 1, nil)
        table.beginIOAS()
        #expect(table.attachedID == nil && table.compatibilityID == nil && table.count == 0)
    }

    @Test func refusedMaps() throws {
        let file = try TestFile(pages: 4)
        let table = try IOASTable.ioas(limit: 3)
        let id = try table.allocate()
        func map(_ iova: UInt64, _ length: UInt64, offset: UInt64 = 0, _ rights: AccessRights = .read)
            -> Errno?
        {
            errno { _ = try table.map(in: id, iova, length, file, offset: offset, rights) }
        }
        #expect(map(0, 0) == .invalidArgument)
        #expect(map(0, 4096, []) == .invalidArgument)
        #expect(map(UInt64.max, 2) == .overflow)
        #expect(map(0, 4096, offset: UInt64.max - 4094) == .overflow)
        #expect(map(0, 4096, offset: 0x3001) == .invalidArgument)
        #expect(map(0, 0x4001) == .invalidArgument)
        #expect(map(0, 0x4000) == nil)
        #expect(map(0x3fff, 1) == .fileExists)
        let narrow = Placement.fixed(0x10_0000, allowed: 0x1000...0x10_0fff)
        #expect(errno { _ = try table.map(in: id, narrow, 0x1001, file) } == .invalidArgument)
        _ = try table.map(in: id, narrow, 0x1000, file)
        #expect(map(UInt64.max, 1) == nil)
        #expect(map(0x20_0000, 1) == .noSpace)
        #expect(table.count == 3)
        #expect(try file.descriptorCount() == 1)
        #expect(try file.mappings().count == 3)
    }

    @Test func unmapRange() throws {
        let table = try IOASTable.ioas()
        let id = try table.allocate()
        for index in UInt64(0)..<4 { _ = try table.map(in: id, 0x1000 + index * 0x2000, 0x1000, nil) }
        func found(_ iova: UInt64, _ length: UInt64) throws -> [UInt64] {
            let found = try table.mappings(in: id, within: iova, length)
            return [UInt64(found.count), found.bytes]
        }
        #expect(try found(0x1000, 0x1000) == [1, 0x1000])
        #expect(try found(0, 0x10000) == [4, 0x4000])
        #expect(try found(0x1000, 0x3000) == [2, 0x2000])
        #expect(try found(1, UInt64.max) == [4, 0x4000])
        for (iova, length) in [(0, 0x1000), (0x1000, 0xfff), (0x1001, 0x4000), (0x1000, 0x2001), (0x1800, 1)]
            as [(UInt64, UInt64)]
        {
            #expect(errno { _ = try found(iova, length) } == .noSuchFileOrDirectory)
        }
        #expect(errno { _ = try found(0, 0) } == .invalidArgument)
        #expect(errno { _ = try found(2, UInt64.max) } == .overflow)
        // As a server does it: one after the other, each looked up anew.
        var starts: [UInt64] = []
        var next = table.firstMapping(in: id)
        while let mapping = next {
            starts.append(mapping.iova)
            table.remove(mapping)
            #expect(!mapping.isLive)
            table.remove(mapping)
            next = table.nextMapping(in: id, after: starts.last ?? 0)
        }
        #expect(starts == [0x1000, 0x3000, 0x5000, 0x7000])
        try table.removeAll(in: id)
        #expect(table.count == 0)
    }

    @Test func copyShares() throws {
        let file = try TestFile(pages: 4)
        let table = try IOASTable.ioas()
        let translator = table.translator
        let (one, two) = (try table.allocate(), try table.allocate())
        let source = try table.map(in: one, 0x10000, 0x4000, file)
        let copy = try table.copy(from: one, 0x11800, 0x1000, to: two, .fixed(0x7000), .read)
        #expect(try file.descriptorCount() == 1)
        #expect(try file.mappings().count == 1)
        #expect(copy.iova == 0x7000 && copy.length == 0x1000 && copy.rights == .read)
        #expect(copy.fileOffset == 0x1800 && copy.userAddress == 0xabc000 + 0x1800)
        try file.bytes.writeAll(toAbsoluteOffset: 0x1800, [42])
        try table.attach(two)
        let entry = try translator.entry(0x7000, 0x1000, .read)
        #expect(try translator.peek(entry) == 42)
        #expect(translator.answer(0x7000, 1, .readWrite).error == .permissionDenied)
        // A copy of the copy in the same IOAS; the mmap lives as long as any of them.
        let third = try table.copy(from: two, 0x7000, 0x1000, to: two, .fixed(0x9000), .read)
        table.remove(source)
        #expect(try translator.peek(entry) == 42)
        table.remove(copy)
        #expect(try translator.peek(translator.entry(0x9000, 1, .read)) == 42)
        #expect(try file.mappings().count == 1)
        table.remove(third)
        #expect(try file.mappings().isEmpty)
        #expect(try file.descriptorCount() == 0)
        #expect(table.fileCount == 0)
    }

    @Test func refusedCopies() throws {
        let file = try TestFile(pages: 4)
        let table = try IOASTable.ioas(limit: 3)
        let id = try table.allocate()
        _ = try table.map(in: id, 0x1000, 0x1000, file, .read)
        _ = try table.map(in: id, 0x2000, 0x1000, file, .readWrite)
        func copy(
            _ source: UInt64, _ length: UInt64, to iova: UInt64 = 0x8000, _ rights: AccessRights = .read,
            from: UInt32 = 1
        ) -> Errno? {
            errno { _ = try table.copy(from: from, source, length, to: id, .fixed(iova), rights) }
        }
        #expect(copy(0x1000, 0x1000, from: 9) == .noSuchFileOrDirectory)
        #expect(copy(0x1000, 0) == .invalidArgument)
        #expect(copy(0x1000, 1, []) == .invalidArgument)
        #expect(copy(0x1000, UInt64.max) == .overflow)
        #expect(copy(0x1800, 0x1000) == .noSuchFileOrDirectory)
        #expect(copy(0x0fff, 2) == .noSuchFileOrDirectory)
        #expect(copy(0x1000, 0x1000, .readWrite) == .notPermitted)
        #expect(copy(0x1000, 0x1000, to: 0x2fff) == .fileExists)
        #expect(copy(0x1000, 0x1000, to: UInt64.max) == .overflow)
        #expect(try file.descriptorCount() == 1)
        #expect(copy(0x1000, 0x1000) == nil)
        #expect(copy(0x1000, 0x1000, to: 0xa000) == .noSpace)
        #expect(table.count == 3)
        #expect(try file.mappings().count == 2)
    }
}
