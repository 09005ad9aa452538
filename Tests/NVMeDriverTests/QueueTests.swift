import SystemPackage
import Testing
import VFIOUserClient

@testable import NVMeDriver

/// Queue pairs: full, wrapping around, several, deleted.
struct QueueTests {
    /// Waits for one completion.
    private func next(_ queue: inout QueuePair) throws -> Completion {
        while true {
            if let completion = try queue.poll() { return completion }
            try queue.idle()
        }
    }

    @Test(arguments: [2, 3, 5, 64]) func wrapsAround(_ entries: Int) throws {
        let server = try NVMeServer(.opaque)
        try withController(server, .test(.ioas)) { controller in
            let namespace = try controller.namespace(1)
            let buffer = try controller.makeBuffer(4096 * entries)
            var queue = try controller.makeQueuePair(entries: entries)
            #expect(queue.capacity == entries - 1)
            var seen = 0
            for round in 0..<1000 {
                // As many as there is room for, in some rounds fewer.
                let count = round % 3 == 0 ? 1 : queue.capacity
                var outstanding = Set<Int>()
                for place in 0..<count {
                    let expected = queue.nextIdentifier
                    let identifier = try queue.submit(
                        .read(namespace, UInt64(place), count: 8, to: buffer.iova + UInt64(place * 4096)))
                    #expect(identifier == expected && identifier < count)
                    outstanding.insert(identifier)
                }
                #expect(outstanding.count == count && queue.outstandingCount == count)
                if count == queue.capacity {
                    #expect(queue.nextIdentifier == -1)
                    #expect(throws: NVMeError.queueFull) {
                        _ = try queue.submit(.flush(namespace))
                    }
                    #expect(throws: NVMeError.invalidArgument) { try queue.execute(.flush(namespace)) }
                }
                try queue.ring()
                while queue.outstandingCount > 0 {
                    let completion = try next(&queue)
                    #expect(completion.status.isSuccess)
                    #expect(outstanding.remove(completion.identifier) != nil)
                    seen += 1
                }
                #expect(outstanding.isEmpty)
                #expect(try queue.poll() == nil)
            }
            #expect(queue.completedCount == UInt64(seen))
        }
    }

    @Test func severalAndDeleted() throws {
        try withController(NVMeServer()) { controller in
            let namespace = try controller.namespace(1)
            for _ in 0..<3 {
                var first = try controller.makeQueuePair(entries: 16)
                var second = try controller.makeQueuePair(entries: 32)
                #expect(first.identifier == 1 && second.identifier == 2)
                try second.execute(.flush(namespace))
                try first.execute(.flush(namespace))
                try controller.delete(first)
                try second.execute(.flush(namespace))
                var third = try controller.makeQueuePair(entries: 2)
                #expect(third.identifier == 1)
                try third.execute(.flush(namespace))
                try controller.delete(second)
                try controller.delete(third)
            }
            let all = try (1...4).map { _ in try controller.makeQueuePair(entries: 4).identifier }
            #expect(all == [1, 2, 3, 4])
            #expect(throws: NVMeError.unsupported(.queues)) { _ = try controller.makeQueuePair(entries: 4) }
        }
    }

    /// A queue is deleted with commands in it; the controller and other queues go on.
    @Test func deletedWithCommands() throws {
        let server = try NVMeServer()
        try withController(server) { controller in
            let namespace = try controller.namespace(1)
            let buffer = try controller.makeBuffer(64 << 10)
            for _ in 0..<20 {
                var queue = try controller.makeQueuePair(entries: 17)
                for place in 0..<16 {
                    let address = buffer.iova + UInt64(place * 4096)
                    _ = try queue.submit(.read(namespace, 0, count: 8, to: address))
                }
                try queue.ring()
                try controller.delete(queue)
            }
            var queue = try controller.makeQueuePair(entries: 4)
            try queue.execute(.read(namespace, 0, count: 8, to: buffer.iova))
        }
    }

    /// Completions are read in time even if the queue is looked at rarely, and nothing is lost.
    @Test func manyAtOnce() throws {
        let server = try NVMeServer(.serverAddress)
        try withController(server, .test(.ioas)) { controller in
            let namespace = try controller.namespace(1)
            let buffer = try controller.makeBuffer(4096)
            var queue = try controller.makeQueuePair(entries: 1024)
            for _ in 0..<20 {
                while queue.outstandingCount < queue.capacity {
                    _ = try queue.submit(.read(namespace, 0, count: 1, to: buffer.iova))
                }
                try queue.ring()
                while queue.outstandingCount > 0 { _ = try next(&queue) }
            }
            #expect(queue.completedCount == 20 * 1023)
        }
    }
}
