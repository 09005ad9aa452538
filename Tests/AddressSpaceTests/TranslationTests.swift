import SystemPackage
import Testing
import VFIOUserSystem

@testable import VFIOUserAddressSpace

@Suite struct TranslationTests {
    @Test func onePiece() throws {
        let table = try IOASTable.legacy()
        try table.map(0x1000, 0x4000, nil)
        let translator = table.translator
        let expected = Answer(count: 1, pieces: [[0x1000, 0x500, 0x10, 1]])
        // First by the tree, then by the hint.
        #expect(translator.answer(0x1500, 0x10) == expected)
        #expect(translator.answer(0x1500, 0x10) == expected)
        #expect(translator.answer(0x1000, 0x4000).pieces == [[0x1000, 0, 0x4000, 1]])
        #expect(translator.answer(0x4fff, 1, .read).pieces == [[0x1000, 0x3fff, 1, 0]])
        #expect(translator.answer(0x1000, 0) == Answer())
        #expect(translator.answer(0, 0) == Answer())
    }

    @Test func holes() throws {
        let table = try IOASTable.legacy()
        try table.map(0x1000, 0x1000, nil)
        try table.map(0x3000, 0x1000, nil)
        for (address, length) in [
            (0, 1), (0xfff, 2), (0x1fff, 2), (0x2000, 1), (0x1000, 0x1001), (0x1000, 0x3000), (0x4000, 1),
            (0x3000, 0x1001), (0x1800, UInt64.max), (0x1000, UInt64.max - 0xfff), (UInt64.max, 1),
            (UInt64.max, 2), (1, UInt64.max),
        ] as [(UInt64, UInt64)] {
            #expect(translate(table, address, length).error == .noSuchFileOrDirectory)
            // Again with the hint on a mapping.
            _ = table.translator.answer(0x1000, 1)
            #expect(translate(table, address, length).error == .noSuchFileOrDirectory)
        }
    }

    func translate(_ table: IOASTable, _ address: UInt64, _ length: UInt64) -> Answer {
        table.translator.answer(address, length)
    }

    @Test func tooManyPieces() throws {
        let table = try IOASTable.legacy()
        for index in UInt64(0)..<3 { try table.map(index << 12, 4096, nil, flags: index == 2 ? 1 : 3) }
        let translator = table.translator
        #expect(translator.answer(0, 0x3000, .read, capacity: 3).count == 3)
        #expect(translator.answer(0, 0x3000, .read, capacity: 2).count == -4)
        #expect(translator.answer(0, 0x1000, .read, capacity: 0).count == -2)
        // Rights behind the last entry that fits are not looked at; a hole there is.
        #expect(translator.answer(0, 0x3000, .readWrite, capacity: 2).count == -4)
        #expect(translator.answer(0, 0x3000, .readWrite, capacity: 3).error == .permissionDenied)
        #expect(translator.answer(0, 0x3001, .readWrite, capacity: 2).error == .noSuchFileOrDirectory)
        let pieces = translator.answer(0x800, 0x2000, .read, capacity: 2).pieces
        #expect(pieces == [[0, 0x800, 0x800, 0], [0x1000, 0, 0x1000, 0]])
    }

    /// Which of a hole and a refusal comes first by address decides.
    @Test func orderOfErrors() throws {
        let table = try IOASTable.legacy()
        try table.map(0x1000, 0x1000, nil, flags: 1)
        #expect(table.translator.answer(0x1800, 0x1000).error == .permissionDenied)
        try table.map(0x0000, 0x800, nil)
        #expect(table.translator.answer(0x400, 0x1000).error == .noSuchFileOrDirectory)
    }

    /// Legacy mappings refuse writing only.
    @Test(arguments: [0, 1, 2, 3] as [UInt32], [0, 1, 2, 3] as [UInt8])
    func legacyRights(flags: UInt32, asked: UInt8) throws {
        let table = try IOASTable.legacy()
        try table.map(0, 4096, nil, flags: flags)
        let refused = asked & 2 != 0 && flags & 2 == 0
        for _ in 0..<2 {
            let answer = table.translator.answer(0, 1, AccessRights(rawValue: asked))
            #expect(answer.error == (refused ? .permissionDenied : nil))
        }
        #expect(try table.translator.entry(0, 1, []).isWriteable == false)
    }

    @Test(arguments: [1, 2, 3] as [UInt8], [0, 1, 2, 3] as [UInt8])
    func rightsOfAnIOAS(given: UInt8, asked: UInt8) throws {
        let table = try IOASTable()
        table.beginIOAS()
        let id = try table.allocate()
        try table.attach(id)
        let rights = AccessRights(rawValue: given)
        _ = try table.insert(MemoryBacking(byMessages: 4096, rights), into: id, at: 0)
        for _ in 0..<2 {
            let answer = table.translator.answer(0, 1, AccessRights(rawValue: asked))
            #expect(answer.error == (asked & ~given != 0 ? .permissionDenied : nil))
        }
    }

    @Test func localAddress() throws {
        let file = try TestFile(pages: 2)
        let table = try IOASTable.legacy()
        let translator = table.translator
        let mapping = try table.map(0x1000, 0x1000, file).mapping
        try table.map(0x2000, 0x1000, nil)
        try table.map(0x3000, 0x1000, file, flags: 11)
        let entry = try translator.entry(0x1010, 0x20)
        let address = unsafe try translator.localAddress(of: entry)
        let isRight = unsafe address == mapping.address.map { unsafe $0 + 0x10 }
        #expect(isRight)
        #expect(translator.isMappable(entry))
        for address in [0x2000, 0x3000] as [UInt64] {
            let entry = try translator.entry(address, 1)
            #expect(!translator.isMappable(entry))
            #expect(errno { _ = try translator.peek(entry) } == .badAddress)
        }
    }

    @Test func nonsenseEntries() throws {
        let file = try TestFile(pages: 1)
        let table = try IOASTable.legacy()
        let translator = table.translator
        try table.map(0, 4096, file)
        let good = try translator.entry(0, 4096)
        #expect(try translator.peek(good) == 0)
        for reference in [
            0, 1, good.reference + 1, good.reference &- (1 << 32), good.reference & ~0xffff_ffff,
            good.reference | 0xffff_ffff, UInt64.max,
        ] {
            var entry = good
            entry.reference = reference
            #expect(errno { _ = try translator.peek(entry) } == .invalidArgument)
            #expect(!translator.isMappable(entry))
            translator.put(entry)
        }
        for (offset, length) in [(0, 4097), (1, 4096), (4096, 0), (UInt64.max, 1), (4095, UInt64.max)]
            as [(UInt64, UInt64)]
        {
            var entry = good
            (entry.offset, entry.length) = (offset, length)
            #expect(errno { _ = try translator.peek(entry) } == .invalidArgument)
        }
    }

    /// No entry survives what it came from.
    @Test func staleEntries() throws {
        let file = try TestFile(pages: 1)
        let table = try IOASTable.legacy()
        let translator = table.translator
        func isStale(_ entry: SGEntry) -> Bool {
            errno { _ = try translator.peek(entry) } == .invalidArgument
        }
        try table.map(0, 4096, file)
        let first = try translator.entry(0, 1)
        try table.unmap(0, 4096)
        #expect(isStale(first))
        #expect(translator.answer(0, 1).error == .noSuchFileOrDirectory)
        // The same range in the same slot.
        try table.map(0, 4096, file)
        #expect(isStale(first))
        let second = try translator.entry(0, 1)
        #expect(second.reference & 0xffff_ffff == first.reference & 0xffff_ffff)
        try table.detach()
        #expect(isStale(second))
        #expect(translator.answer(0, 1).error == .noSuchFileOrDirectory)
        try table.attach(1)
        #expect(isStale(second))
        let third = try translator.entry(0, 1)
        #expect(!isStale(third))
        table.endConnection()
        #expect(isStale(third))
        table.beginLegacy()
        try table.map(0, 4096, file)
        #expect(isStale(third))
        // Another device in the same process.
        let other = try IOASTable.legacy()
        try other.map(0, 4096, file)
        let foreign = try other.translator.entry(0, 1)
        #expect(isStale(foreign))
    }

    /// Mappings come and go at random, and translations are compared with a list.
    @Test func likeAModel() throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = Seeded(seed)
        let table = try IOASTable.legacy(limit: 200)
        let translator = table.translator
        struct Range { var base, length: UInt64; var flags: UInt32 }
        var model: [Range] = []
        func expected(_ address: UInt64, _ length: UInt64, _ rights: UInt8, _ capacity: Int) -> Answer {
            if length == 0 { return Answer() }
            var answer = Answer()
            var next = address
            var left = length
            while left > 0 {
                guard !address.addingReportingOverflow(length - 1).overflow,
                    let range = model.first(where: { next >= $0.base && next - $0.base < $0.length })
                else { return Answer(error: .noSuchFileOrDirectory) }
                let offset = next - range.base
                let piece = min(left, range.length - offset)
                if answer.pieces.count < capacity {
                    if rights & 2 != 0, range.flags & 2 == 0 { return Answer(error: .permissionDenied) }
                    answer.pieces.append([range.base, offset, piece, UInt64(rights >> 1)])
                }
                answer.count += 1
                next &+= piece
                left -= piece
            }
            if answer.count > capacity { answer.count = -answer.count - 1 }
            return answer
        }
        for _ in 0..<20_000 {
            // Some of it at the very top.
            let top: UInt64 = random.below(8) == 0 ? 0 &- 4096 : 0
            let address = random.below(4096) &+ top
            let length = random.below(random.below(3) == 0 ? 400 : 30)
            switch random.below(4) {
            case 0:
                let flags = UInt32(random.below(4))
                let wraps = length == 0 || address.addingReportingOverflow(length - 1).overflow
                let same = model.contains { $0.base == address && $0.length == length && $0.flags == flags }
                let overlaps = model.contains {
                    address <= $0.base + ($0.length - 1) && $0.base <= address &+ length &- 1
                }
                let fails = wraps || (!same && (overlaps || model.count >= 200))
                let error = errno { try table.map(address, length, nil, flags: flags) }
                #expect(error == (fails ? .invalidArgument : nil), "seed \(seed)")
                if !fails, !same { model.append(Range(base: address, length: length, flags: flags)) }
            case 1:
                guard !model.isEmpty, random.below(2) == 0 else { continue }
                let victim = model.remove(at: Int(random.below(UInt64(model.count))))
                try table.unmap(victim.base, victim.length)
            default:
                let rights = UInt8(random.below(4))
                let capacity = Int(random.below(5))
                let answer = translator.answer(
                    address, length, AccessRights(rawValue: rights), capacity: capacity)
                #expect(answer == expected(address, length, rights, capacity), "seed \(seed)")
            }
        }
        #expect(table.count == model.count)
    }
}
