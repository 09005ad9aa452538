import Testing
import VFIOUserClient

@testable import NVMeDriver
@testable import nvme_client

/// A benchmark's lane with a server that means harm.
struct BenchTests {
    /// The server completes commands that nobody has announced yet, as often as it can: a turn takes what was outstanding
    /// when it began, and ends.
    @Test func completionsAheadOfTheDoorbell() throws {
        let server = try NVMeServer()
        defer { server.end() }
        let controller = try server.connect(.test())
        let namespace = try controller.namespace(1)
        let buffer = try controller.makeBuffer(4 * 4096)
        let queue = try controller.makeQueuePair(entries: 16)
        let memory = queue.memory.memory
        let workload = Workload(
            namespace: namespace, depth: 2, blocksPerCommand: 8, isRandom: false, readsIn256: 256,
            places: 16)
        var lane = Lane(queue, workload, buffer.iova, number: 0, of: 1)
        server.pause()
        try lane.fill()
        // The identifier that became free last is used next: 0, again and again.
        for entry in 0..<16 {
            let word: UInt64 = 1 << 48 | 1 << 16
            try memory.store(word, at: Rings.completionOffset(16) + entry * 16 + 8)
        }
        for turn in 1...3 {
            var now: UInt64 = 0
            #expect(try lane.turn(&now, beginsAnew: true) == 2)
            #expect(now != 0 && lane.outstandingCount == 2 && lane.histogram.total == UInt64(2 * turn))
        }
        server.resume()
    }
}
