import Synchronization
import SystemPackage
import Testing
import VFIOUserSystem

@testable import VFIOUserAddressSpace

/// Translations and dirty marks on several threads at once.
@Suite struct ThreadTests {
    @Test func translations() async throws {
        let file = try TestFile(pages: 1)
        let table = try IOASTable.legacy()
        for index in UInt64(0)..<300 { try table.map(index << 13, 4096, file) }
        let translator = table.translator
        let wrong = await withTaskGroup(of: Int.self) { group in
            for thread in UInt64(0)..<4 {
                group.addTask {
                    var random = Seeded(thread)
                    var wrong = 0
                    for _ in 0..<20_000 {
                        let index = random.below(300)
                        let answer = translator.answer((index << 13) + 16, 64)
                        if answer.pieces != [[index << 13, 16, 64, 1]] { wrong += 1 }
                        let hole = translator.answer((index << 13) + 4090, 64)
                        if hole.error != .noSuchFileOrDirectory { wrong += 1 }
                    }
                    return wrong
                }
            }
            return await group.reduce(0, +)
        }
        #expect(wrong == 0)
        #expect(table.count == 300)
    }

    /// Bits set on some threads while another takes them: every one is seen, once or more.
    @Test func marks() async throws {
        let file = try TestFile(pages: 1)
        let table = try IOASTable.legacy()
        let pages: UInt64 = 64 * 300
        try table.map(0, pages << 12, file)
        try table.startLogging(pageSize: 4096)
        let translator = table.translator
        let marking = Task.detached {
            try await withThrowingTaskGroup(of: Void.self) { group in
                for thread in UInt64(0)..<2 {
                    group.addTask {
                        for page in stride(from: thread, to: pages, by: 2) {
                            translator.markDirty(try translator.entry(page << 12, 1))
                        }
                    }
                }
                try await group.waitForAll()
            }
        }
        var seen = [UInt64](repeating: 0, count: 300)
        for _ in 0..<50 {
            for (index, word) in try table.words(0, pages << 12).enumerated() { seen[index] |= word }
        }
        try await marking.value
        for (index, word) in try table.words(0, pages << 12).enumerated() { seen[index] |= word }
        #expect(seen.allSatisfy { $0 == UInt64.max })
    }

    /// What was stored before a page was marked is seen by whoever reads it after a report that shows the mark; also if all
    /// pages of a word are marked nearly always, as here.
    @Test func storesBeforeMarks() async throws {
        let pages: UInt64 = 64
        let file = try TestFile(pages: Int(pages))
        let table = try IOASTable.legacy()
        try table.map(0, pages << 12, file)
        try table.startLogging(pageSize: 4096)
        let translator = table.translator
        let start = UInt(bitPattern: try unsafe translator.localAddress(of: translator.entry(0, 1)))
        // A page begins with a number, aligned as pages are; the table keeps them mapped.
        @Sendable func number(_ page: UInt64) -> UnsafeMutablePointer<Atomic<UInt64>>? {
            unsafe UnsafeMutablePointer(bitPattern: start + UInt(page) << 12)
        }
        let seen = Atomic<UInt64>(0)
        let isOver = Atomic(false)
        let rounds: UInt64 = 1000
        async let marking: UInt64 = Task.detached {
            defer { isOver.store(true, ordering: .releasing) }
            for round in 1...rounds {
                for page in 0..<pages {
                    let entry = try translator.entry(page << 12, 1)
                    unsafe number(page)?.pointee.store(round, ordering: .relaxed)
                    translator.markDirty(entry)
                }
                // Not one may be missed: there is no other that would make up for it.
                let end = ContinuousClock.now + .seconds(10)
                while seen.load(ordering: .acquiring) < round {
                    guard ContinuousClock.now < end else { return round }
                    await Task.yield()
                }
            }
            return 0
        }.value
        var copies = [UInt64](repeating: 0, count: Int(pages))
        var random = Seeded(7)
        var full = 0
        while !isOver.load(ordering: .acquiring) {
            // From no time at all to more than all pages take.
            for _ in 0..<random.below(4000) { _ = seen.load(ordering: .relaxed) }
            let word = try table.words(0, pages << 12)[0]
            if word == .max { full += 1 }
            for page in 0..<pages where word >> page & 1 == 1 {
                copies[Int(page)] = unsafe number(page)?.pointee.load(ordering: .relaxed) ?? 0
            }
            if let first = copies.first, copies.allSatisfy({ $0 == first }) {
                seen.store(first, ordering: .releasing)
            }
            // There may be one processor.
            await Task.yield()
        }
        #expect(try await marking == 0)
        #expect(full > 0)
    }

    /// Reports in the middle of a copy miss none of its pages.
    @Test(arguments: [LegacyMap.mmap, LegacyMap.fileIO]) func copies(mode: UInt32) async throws {
        let pages = 2048
        let length = UInt64(pages) << 12
        let file = try TestFile(pages: pages)
        let table = try IOASTable.legacy()
        _ = try table.map(
            LegacyMap(flags: 3 | mode, offset: 0, address: 0, size: length), file.descriptor())
        try table.startLogging(pageSize: 4096)
        let translator = table.translator
        for round in UInt8(1)...80 {
            let isOver = Atomic(false)
            async let writing: Bool = Task.detached {
                defer { isOver.store(true, ordering: .releasing) }
                let bytes = [UInt8](repeating: round, count: pages << 12)
                return try unsafe translator.write(translator.entry(0, length), from: bytes)
            }.value
            var copied = [UInt8](repeating: 0, count: pages)
            var isLast = false
            repeat {
                isLast = isOver.load(ordering: .acquiring)
                for (index, word) in try table.words(0, length).enumerated() where word != 0 {
                    for bit in 0..<64 where word >> UInt64(bit) & 1 == 1 {
                        let page = index * 64 + bit
                        copied[page] = try #require(try file.byte(at: page << 12))
                    }
                }
                // There may be one processor.
                await Task.yield()
            } while !isLast
            #expect(try await writing)
            let isWhole = copied.allSatisfy { $0 == round }
            #expect(isWhole, "round \(round)")
        }
    }
}
