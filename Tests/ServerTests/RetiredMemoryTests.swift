import Glibc
import SystemPackage
import Testing
import VFIOUserServer
import VFIOUserWire

/// When memory is unmapped that the client has taken back. In processes of their own: other tests map memory, too, and
/// could take the places beside.
@Suite struct RetiredMemoryTests {
    /// A session with mappings side by side, in the file and in this process, one for each number but 0.
    struct Neighbours {
        let session: Session
        let size: Int
        let count: Int

        init(size: Int = 4096, count: Int = 15) throws {
            session = try Session()
            self.size = size
            self.count = count
            let file = try File.memory(size * (count + 1), name: "retired")
            // Where the first one is, none is beside.
            for number in 0...count {
                try session.map(UInt64(number * size), UInt64(size), file, offset: UInt64(number * size))
            }
            try session.unmap(0, UInt64(size))
            #expect(mapped == count)
        }

        /// How many the process has.
        var mapped: Int { mappedByteCount(of: "retired") / size }

        /// Unmaps after so many polls that find nothing.
        func unmap(_ number: Int, after polls: Int) throws {
            try idle(polls)
            try session.unmap(UInt64(number * size), UInt64(size))
            #expect(throws: Errno.noSuchFileOrDirectory) {
                try session.server.readClient(UInt64(number * size), 1)
            }
        }

        func idle(_ polls: Int) throws {
            for _ in 0..<polls { #expect(try session.server.poll() == 0) }
        }
    }

    /// Neighbours that go one after the other wait until nothing more comes, if the server polls all the time.
    @Test func runs() async {
        await #expect(processExitsWith: .success) {
            let memory = try Neighbours()
            // The first has no neighbour that went before.
            try memory.unmap(3, after: 2)
            #expect(memory.mapped == 14)
            for number in 4..<9 { try memory.unmap(number, after: 5) }
            #expect(memory.mapped == 14)
            try memory.idle(31)
            #expect(memory.mapped == 14)
            try memory.idle(1)
            #expect(memory.mapped == 9)
            // Also downwards, and whether or not there is a poll between.
            try memory.unmap(2, after: 100)
            try memory.unmap(1, after: 0)
            #expect(memory.mapped == 8)
            try memory.idle(32)
            #expect(memory.mapped == 7)
        }
    }

    /// Whoever polls until nothing is left, or only when there is something, may sleep for long after that.
    @Test(arguments: [0, 1]) func sleepers(polls: Int) async {
        await #expect(processExitsWith: .success) { [polls] in
            let memory = try Neighbours()
            for number in 1..<9 {
                try memory.unmap(number, after: polls)
                #expect(memory.mapped == 15 - number)
            }
        }
    }

    /// So may a server that only polled all the time once.
    @Test func pollsNoMore() async {
        await #expect(processExitsWith: .success) {
            let memory = try Neighbours()
            try memory.idle(40)
            for (number, left) in [(1, 14), (2, 14), (3, 14), (4, 14), (5, 10), (6, 9), (7, 8)] {
                try memory.unmap(number, after: 0)
                #expect(memory.mapped == left)
            }
        }
    }

    /// Requests that came while an answer was awaited are carried out without a look at the socket.
    @Test func keptRequests() async {
        await #expect(processExitsWith: .success) {
            let memory = try Neighbours()
            let session = memory.session
            try session.unmap(15 * 4096, 4096)
            try memory.idle(2)
            try session.map(1 << 30, 4096)
            try memory.idle(100)
            for number in UInt64(1)..<5 {
                try session.peer.request(.dmaUnmap, encoded(DMAUnmap(address: number << 12, size: 4096)))
            }
            try session.peer.send(dmaReadReply(id: 1, 1 << 30, [7]))
            #expect(try session.server.readClient(1 << 30, 1) == [7])
            #expect(try session.server.poll() == 4)
            for _ in 0..<4 { _ = try session.peer.receive() }
            try memory.idle(100)
            #expect(memory.mapped == 10)
        }
    }

    /// One poll that finds nothing ends what more have begun.
    @Test func fallsAsleep() async {
        await #expect(processExitsWith: .success) {
            let memory = try Neighbours()
            for number in 1..<5 { try memory.unmap(number, after: 3) }
            #expect(memory.mapped == 14)
            try memory.unmap(5, after: 1)
            #expect(memory.mapped == 10)
        }
    }

    /// What does not lie beside the last is not kept, nor is what was kept then.
    @Test func scattered() async {
        await #expect(processExitsWith: .success) {
            let memory = try Neighbours()
            for (number, left) in [(1, 14), (2, 14), (3, 14), (7, 11), (5, 10), (6, 10), (9, 8)] {
                try memory.unmap(number, after: 4)
                #expect(memory.mapped == left)
            }
        }
    }

    /// Less than 2 MiB wait.
    @Test func limit() async {
        await #expect(processExitsWith: .success) {
            let memory = try Neighbours(size: 1 << 20)
            for (number, left) in [(1, 14), (2, 14), (3, 12), (4, 12), (5, 10), (6, 10), (7, 8)] {
                try memory.unmap(number, after: 4)
                #expect(memory.mapped == left)
            }
        }
    }

    /// What waits is gone before more is mapped, and with the client.
    @Test func ends() async {
        await #expect(processExitsWith: .success) {
            let memory = try Neighbours()
            for number in 1..<5 { try memory.unmap(number, after: 3) }
            #expect(memory.mapped == 14)
            try memory.session.map(1 << 30, 4096)
            #expect(memory.mapped == 11)
            for number in 5..<8 { try memory.unmap(number, after: 3) }
            #expect(memory.mapped == 11)
            memory.session.peer.close()
            memory.session.expectDisconnect()
            #expect(mappedByteCount(of: "retired") == 0)
        }
    }
}
