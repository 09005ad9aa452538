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
}
