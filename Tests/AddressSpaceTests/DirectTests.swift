import SystemPackage
import Testing
import VFIOUserSystem

@testable import VFIOUserAddressSpace

/// Copying without messages.
@Suite struct DirectTests {
    func read(_ translator: Translator, _ entry: SGEntry) throws -> [UInt8]? {
        var bytes = [UInt8](repeating: 0xee, count: Int(entry.length))
        let done = try unsafe bytes.withUnsafeMutableBytes { buffer in
            try unsafe translator.read(entry, into: #require(buffer.baseAddress))
        }
        return done ? bytes : nil
    }

    func write(_ translator: Translator, _ entry: SGEntry, _ bytes: [UInt8]) throws -> Bool {
        try unsafe bytes.withUnsafeBytes { buffer in
            try unsafe translator.write(entry, from: #require(buffer.baseAddress))
        }
    }

    /// mmap and file I/O move the same bytes of the file and mark the same pages.
    @Test(arguments: [7, 11] as [UInt32])
    func roundTrip(flags: UInt32) throws {
        let file = try TestFile(pages: 4)
        let table = try IOASTable.legacy()
        let translator = table.translator
        try table.map(0x10_0000, 0x2000, file, flags: flags, offset: 0x1800)
        try table.startLogging(pageSize: 4096)
        let entry = try translator.entry(0x10_0ffe, 4)
        #expect(try write(translator, entry, [1, 2, 3, 4]))
        #expect(try read(translator, entry) == [1, 2, 3, 4])
        var bytes = [UInt8](repeating: 0, count: 6)
        try unsafe bytes.withUnsafeMutableBytes { try unsafe file.bytes.readFully(into: $0, at: 0x27fd) }
        #expect(bytes == [0, 1, 2, 3, 4, 0])
        #expect(try table.words(0x10_0000, 0x2000) == [3])
        let readOnly = try translator.entry(0x10_0ffe, 4, .read)
        #expect(try read(translator, readOnly) == [1, 2, 3, 4])
        #expect(errno { _ = try write(translator, readOnly, [0, 0, 0, 0]) } == .notPermitted)
        #expect(try table.words(0x10_0000, 0x2000) == [0])
        try table.unmap(0x10_0000, 0x2000)
        #expect(errno { _ = try read(translator, entry) } == .invalidArgument)
        #expect(errno { _ = try write(translator, entry, [0, 0, 0, 0]) } == .invalidArgument)
    }

    @Test func messagesAreTheCallers() throws {
        let table = try IOASTable.legacy()
        let translator = table.translator
        try table.map(0, 4096, nil)
        let entry = try translator.entry(0, 4)
        #expect(try read(translator, entry) == nil)
        #expect(try write(translator, entry, [0, 0, 0, 0]) == false)
    }

    @Test func endOfFile() throws {
        let file = try TestFile(pages: 1)
        let table = try IOASTable.legacy()
        let translator = table.translator
        try table.map(0, 8192, file, flags: 11)
        let entry = try translator.entry(4094, 4)
        #expect(errno { _ = try read(translator, entry) } == .ioError)
        // Writing makes the file longer.
        #expect(try write(translator, entry, [1, 2, 3, 4]))
        #expect(try read(translator, entry) == [1, 2, 3, 4])
        try table.map(8192, 4096, file, flags: 11, offset: UInt64.max - 100)
        let absurd = try translator.entry(8192, 4)
        #expect(errno { _ = try read(translator, absurd) } == .ioError)
        let wrapping = try translator.entry(8192 + 200, 4)
        #expect(errno { _ = try write(translator, wrapping, [1, 2, 3, 4]) } == .ioError)
    }

    /// I/O goes through a descriptor opened the way the client's was.
    @Test func descriptorsByRights() throws {
        let file = try TestFile(pages: 2)
        let table = try IOASTable.legacy()
        let translator = table.translator
        func map(_ address: UInt64, _ descriptor: consuming OwnedFD) throws {
            _ = try table.map(LegacyMap(flags: 11, offset: 0, address: address, size: 4096), descriptor)
        }
        try map(0x0000, file.opened(.readOnly))
        try map(0x1000, file.opened(.readWrite))
        try map(0x2000, file.opened(.readWrite))
        try map(0x3000, file.opened(.readOnly))
        #expect(try file.descriptorCount() == 2)
        #expect(table.fileCount == 2)
        for (address, error) in [(0, .ioError), (0x1000, nil), (0x2000, nil), (0x3000, .ioError)]
            as [(UInt64, Errno?)]
        {
            let entry = try translator.entry(address, 1)
            #expect(errno { _ = try write(translator, entry, [1]) } == error)
            #expect(errno { _ = try read(translator, entry) } == nil)
        }
        for address in [0x1000, 0x0000, 0x3000] as [UInt64] { try table.unmap(address, 4096) }
        #expect(try file.descriptorCount() == 1)
        #expect(try write(translator, translator.entry(0x2000, 1), [1]))
        try table.unmap(0x2000, 4096)
        #expect(try file.descriptorCount() == 0)
    }

    /// Files whose identity says nothing of their contents keep a descriptor each.
    @Test func filesWithoutContents() throws {
        let table = try IOASTable.legacy()
        for index in UInt64(0)..<3 {
            let zero = try FileDescriptor.open(FilePath("/dev/zero"), .readWrite)
            let request = LegacyMap(flags: 11, offset: 0, address: index << 12, size: 4096)
            _ = try table.map(request, OwnedFD(adopting: zero.rawValue))
            let entry = try table.translator.entry(index << 12, 2)
            #expect(try read(table.translator, entry) == [0, 0])
        }
        #expect(table.fileCount == 0)
        #expect(table.count == 3)
        table.endConnection()
    }
}
