import SystemPackage
import Testing
import VFIOUserSystem

@testable import VFIOUserAddressSpace

extension IOASTable {
    /// The words of a whole report, produced in pieces of some bytes.
    func words(
        _ iova: UInt64, _ length: UInt64, pageSize: UInt64 = 4096, inPiecesOf size: Int = 1 << 16
    ) throws -> [UInt64] {
        var report = try report(iova, length, pageSize: pageSize)
        var words: [UInt64] = []
        while !report.isDone {
            let before = words.count
            unsafe withUnsafeTemporaryAllocation(byteCount: size, alignment: 8) { buffer in
                var output = unsafe OutputRawSpan(buffer: buffer, initializedCount: 0)
                report.append(to: &output)
                let count = unsafe output.finalize(for: buffer)
                for offset in stride(from: 0, to: count, by: 8) {
                    words.append(unsafe buffer.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
                }
            }
            try #require(words.count > before)
        }
        #expect(report.byteCount == UInt64(words.count) * 8)
        return words
    }
}

/// Dirty logging.
@Suite struct DirtyTests {
    @Test func startAndStop() throws {
        let file = try TestFile(pages: 1)
        let table = try IOASTable.legacy()
        #expect(errno { try table.startLogging(pageSize: 0) } == .invalidArgument)
        try table.map(0, 4096, nil)
        try table.map(4096, 8192, file)
        // Messages are no obstacle, files smaller than a page are.
        #expect(errno { try table.startLogging(pageSize: 8193) } == .invalidArgument)
        #expect(table.loggingPageSize == 0)
        try table.startLogging(pageSize: 8192)
        try table.startLogging(pageSize: 8192)
        #expect(errno { try table.startLogging(pageSize: 4096) } == .invalidArgument)
        #expect(errno { try table.startLogging(pageSize: 0) } == .invalidArgument)
        #expect(errno { try table.map(1 << 20, 4096, file) } == .invalidArgument)
        try table.map(1 << 20, 4096, nil)
        #expect(try file.descriptorCount() == 1)
        table.stopLogging()
        table.stopLogging()
        try table.map(2 << 20, 4096, file)
        // Goes on from one connection to the next.
        try table.startLogging(pageSize: 4096)
        table.endConnection()
        table.beginLegacy()
        #expect(table.loggingPageSize == 4096)
        try table.map(0, 4096, file)
        #expect(try table.words(0, 4096) == [0])
    }

    /// The checks in their order.
    @Test func refusedReports() throws {
        let file = try TestFile(pages: 1)
        let table = try IOASTable.legacy()
        func report(_ iova: UInt64, _ length: UInt64, _ pageSize: UInt64 = 4096) -> Errno? {
            errno { _ = try table.report(iova, length, pageSize: pageSize) }
        }
        try table.map(0x10000, 0x10000, file)
        try table.map(0x20000, 0x10000, nil)
        #expect(report(0, 4096, 0) == .invalidArgument)
        #expect(report(0, 4096, 8192) == .invalidArgument)
        #expect(report(0, 4096) == .noSuchFileOrDirectory)
        #expect(report(0x10000, 0x10001) == .noSuchFileOrDirectory)
        #expect(report(0x10000, 0x20000) == .noSuchFileOrDirectory)
        #expect(report(0x10000, UInt64.max - 0xffff) == .noSuchFileOrDirectory)
        #expect(report(0x10000, UInt64.max) == .noSuchFileOrDirectory)
        #expect(report(0x11000, 4096) == .notSupported)
        #expect(report(0x10000, 4096) == .invalidArgument)
        try table.startLogging(pageSize: 8192)
        #expect(report(0x10000, 12288, 12288) == .invalidArgument)
        #expect(report(0x10000, 4096) == .invalidArgument)
        #expect(report(0x20000, 0x10000) == .invalidArgument)
        #expect(report(0x10000, 8192) == nil)
        try table.detach()
        #expect(report(0x10000, 8192) == .noSuchFileOrDirectory)
        #expect(try DirtyReport.byteCount(UInt64.max, pageSize: 1) == 1 << 61)
        #expect(try DirtyReport.byteCount(65 * 4096, pageSize: 4096) == 16)
        #expect(try DirtyReport.byteCount(4096, pageSize: 4096) == 8)
    }

    /// The patterns of the reference's own test.
    @Test func patterns() throws {
        let file = try TestFile(pages: 0x20)
        let table = try IOASTable.legacy()
        let translator = table.translator
        let page: UInt64 = 4096
        try table.map(0x10 * page, 0x20 * page, file)
        let region = 0x10 * page
        func mark(_ first: UInt64, _ pages: UInt64) throws {
            translator.put(try translator.entry(first * page, pages * page))
        }
        func bits(_ size: UInt64 = 4096) throws -> UInt64 {
            let words = try table.words(region, 0x10 * page, pageSize: size)
            #expect(words.count == 1)
            return words[0]
        }
        try mark(0x10, 1)
        try table.startLogging(pageSize: page)
        #expect(try bits() == 0)
        let readOnly = try translator.entry(0x11 * page, page, .read)
        translator.put(readOnly)
        translator.markDirty(readOnly)
        for (size, expected) in [
            (4096, 0b11_1100_0001), (2048, 0b1111_1111_0000_0000_0011), (8192, 0b11001), (65536, 1),
        ] as [(UInt64, UInt64)] {
            try mark(0x10, 1)
            try mark(0x16, 4)
            #expect(try bits(size) == expected)
            #expect(try bits(size) == 0)
        }
        for (first, pages, expected) in [
            (0x10, 1, 1), (0x17, 1, 0x80), (0x10, 7, 0x7f), (0x10, 8, 0xff), (0x10, 9, 0x1ff),
            (0x17, 2, 0x180),
            (0x1f, 1, 0x8000), (0x27, 1, 1 << 23),
        ] as [(UInt64, UInt64, UInt64)] {
            try mark(first, pages)
            #expect(try bits() == expected)
        }
    }

    @Test func partsOfPages() throws {
        let file = try TestFile(pages: 1)
        let table = try IOASTable.legacy()
        try table.map(100, 100_000, file)
        try table.startLogging(pageSize: 1000)
        let translator = table.translator
        for (offset, length, expected) in [
            (0, 1, 1), (999, 1, 1), (999, 2, 3), (1000, 1000, 2), (63_999, 1, 1 << 63),
            (62_001, 998, 1 << 62),
        ] as [(UInt64, UInt64, UInt64)] {
            translator.markDirty(try translator.entry(100 + offset, length))
            #expect(try table.words(100, 64 * 1000, pageSize: 1024)[0] != 0)
            translator.markDirty(try translator.entry(100 + offset, length))
            let same = try bits(table, 1000)
            #expect(same == expected)
        }
    }

    /// The bits themselves, whatever size reports may have.
    func bits(_ table: IOASTable, _ size: UInt64) throws -> UInt64 {
        let id = try #require(table.attachedID)
        let mapping = try #require(table.firstMapping(in: id))
        var report = DirtyReport(mapping, mapping.length, pageSize: size, loggingPageSize: size)
        return report.next()
    }

    /// Every pair of page sizes against bits set one by one.
    @Test(arguments: [512, 1000, 4096, 5000, 12288, 65536, 100_000] as [UInt64])
    func pageSizes(logged: UInt64) throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = Seeded(seed)
        let file = try TestFile(pages: 1)
        for size in [1, 256, 1024, 4096, 8192, 32768, 1 << 17, 1 << 20] as [UInt64] {
            let length = max(size, logged) + random.below(size < 4096 ? 50_000 : 500_000)
            let table = try IOASTable.legacy()
            let translator = table.translator
            try table.map(0x777, length, file)
            try table.startLogging(pageSize: logged)
            if random.below(2) == 0 {
                // As where the kernel has no membarrier.
                unsafe table.state.pointee.fencesMarking = true
                unsafe table.state.pointee.loggingShift = 64
            }
            for round in 0..<4 {
                var pages = [Bool](repeating: false, count: Int(length.dividedRoundingUp(by: logged)))
                var entries: [SGEntry] = []
                for _ in 0..<random.below(30) {
                    let offset = random.below(length)
                    let count = 1 + random.below(min(length - offset, random.below(4) == 0 ? 200_000 : 5000))
                    let rights: AccessRights = random.below(4) == 0 ? .read : .write
                    entries.append(try translator.entry(0x777 + offset, count, rights))
                    if rights == .read { continue }
                    for page in offset / logged...(offset + count - 1) / logged { pages[Int(page)] = true }
                }
                // One by one, or all at once.
                switch round {
                case 0: for entry in entries { translator.markDirty(entry) }
                case 1: unsafe translator.markDirty(entries, count: entries.count)
                default: unsafe translator.put(entries, count: entries.count)
                }
                // The whole, or a part that the rest must survive.
                let part = round % 2 == 0 ? length : max(size, logged, 1 + random.below(length))
                if part > length { continue }
                let words = try table.words(
                    0x777, part, pageSize: size, inPiecesOf: 8 + Int(random.below(40)))
                let results = UInt64(words.count) * 64
                #expect(UInt64(words.count) == part.dividedRoundingUp(by: size).dividedRoundingUp(by: 64))
                // What is returned: the words that hold the range, as far as the result reaches.
                let end = min(
                    UInt64(pages.count), part.dividedRoundingUp(by: logged).dividedRoundingUp(by: 64) * 64,
                    (results * size).dividedRoundingUp(by: logged))
                var expected = [UInt64](repeating: 0, count: words.count)
                for page in 0..<end where pages[Int(page)] {
                    let first = page * logged / size
                    let last = min(((page + 1) * logged - 1) / size, results - 1)
                    if first > last { continue }
                    for bit in first...last { expected[Int(bit / 64)] |= 1 << (bit % 64) }
                }
                let isRight = words == expected
                #expect(isRight, "seed \(seed), size \(size), length \(length), part \(part)")
                // Returned is cleared, and the rest is not.
                for page in 0..<end { pages[Int(page)] = false }
                let mapping = try #require(table.firstMapping(in: 1))
                var rest = DirtyReport(mapping, length, pageSize: logged, loggingPageSize: logged)
                var kept = true
                for word in 0..<pages.count.dividedRoundingUp(64) {
                    var bits: UInt64 = 0
                    for bit in 0..<min(64, pages.count - word * 64) where pages[word * 64 + bit] {
                        bits |= 1 << UInt64(bit)
                    }
                    kept = kept && rest.next() == bits
                }
                #expect(kept, "seed \(seed), size \(size), length \(length), part \(part)")
            }
        }
    }

    /// A report whose mapping goes away, or whose logging stops, finds nothing.
    @Test func reportOfNothing() throws {
        let file = try TestFile(pages: 1)
        let table = try IOASTable.legacy()
        let translator = table.translator
        try table.startLogging(pageSize: 4096)
        try table.map(0, 8 << 20, file)
        translator.markDirty(try translator.entry(0, 8 << 20))
        var first = try table.report(0, 8 << 20, pageSize: 4096)
        var second = try table.report(0, 8 << 20, pageSize: 4096)
        #expect(first.next() == UInt64.max)
        table.stopLogging()
        #expect(first.next() == 0)
        try table.unmap(0, 8 << 20)
        #expect(second.next() == 0)
    }

    /// Bits for terabytes take no memory.
    @Test func hugeBitmaps() throws {
        let file = try TestFile(pages: 1)
        let table = try IOASTable.legacy()
        let translator = table.translator
        try table.map(0, 8 << 40, file, flags: 11)
        // 16 GiB of bits are refused, 256 MiB are not.
        #expect(throws: Errno.noMemory) { try table.startLogging(pageSize: 64) }
        try table.startLogging(pageSize: 4096)
        translator.markDirty(try translator.entry((8 << 40) - 1, 1))
        translator.markDirty(try translator.entry(64, 64))
        #expect(try table.report(0, 8 << 40, pageSize: 64).byteCount == 16 << 30)
        // Reading all of it would take long; a part will do.
        #expect(try table.words(0, 1 << 20, pageSize: 32).prefix(3) == [UInt64.max, UInt64.max, 0])
        table.stopLogging()
    }

    /// What becomes visible is clean.
    @Test func attachingStartsClean() throws {
        let file = try TestFile(pages: 1)
        let table = try IOASTable.legacy()
        let translator = table.translator
        try table.map(0, 4096, file)
        try table.startLogging(pageSize: 4096)
        translator.markDirty(try translator.entry(0, 1))
        try table.detach()
        try table.attach(1)
        #expect(try table.words(0, 4096) == [0])
        let second = try table.allocate()
        _ = try table.copy(from: 1, 0, 4096, to: second, .fixed(0), .readWrite)
        translator.markDirty(try translator.entry(0, 1))
        try table.attach(second)
        #expect(try table.words(0, 4096) == [0])
        translator.markDirty(try translator.entry(0, 1))
        #expect(try table.words(0, 4096) == [1])
    }
}

extension Int {
    func dividedRoundingUp(_ divisor: Int) -> Int { (self + divisor - 1) / divisor }
}
