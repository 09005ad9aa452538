import SystemPackage
import Testing
import VFIOUserTransport
import VFIOUserWire

@testable import VFIOUserServer

/// Accesses to client memory that are given up since a request of the client's has to come first
/// (``DeviceServer/answersWhileWaiting``).
@Suite struct AbandonedAccessTests {
    static let map = encoded(DMAMap(flags: [.read, .write], offset: 0, address: 0x40_0000, size: 0x1000))
    static let unmap = encoded(DMAUnmap(address: 0x80_0000, size: 0x1000))

    private func session() throws -> Session {
        let session = try Session()
        session.server.answersWhileWaiting = true
        session.server.outbound.stallLimit = 10_000
        try session.map(0x1000, 0x200000)
        try session.map(0x80_0000, 0x1000)
        _ = session.device.takeEvents()
        return session
    }

    /// A session whose DMA_READ 1 was given up for a request, which has been answered by now; the late answer has not
    /// been sent.
    private func abandoned(_ command: Command = .dmaMap, _ payload: [UInt8] = Self.map) throws -> Session {
        let session = try session()
        try session.peer.request(command, payload)
        #expect(throws: Errno.canceled) { try session.server.readClient(0x1000, 4) }
        #expect(try session.server.poll() == 1)
        #expect(try session.peer.receive().header.command == Command.dmaRead.rawValue)
        let reply = try session.peer.receive()
        #expect(reply.header.command == command.rawValue && reply.error == nil)
        _ = session.device.takeEvents()
        return session
    }

    /// A client that answers nothing before its own request is answered: what it asked for comes first, and then the
    /// access.
    @Test(
        arguments: [
            (.dmaMap, map), (.deviceReset, []), (.dmaUnmap, unmap),
        ] as [(Command, [UInt8])])
    func requestsThatComeFirst(command: Command, payload: [UInt8]) throws {
        let session = try session()
        let peer = session.peer
        let isRight = Locked(false)
        let client = Background {
            guard let question = try? peer.receive(), let id = try? peer.request(command, payload),
                let reply = try? peer.receive(), reply.header.id == id, reply.error == nil,
                (try? peer.send(dmaReadReply(id: question.header.id, 0x1000, [1, 2]))) != nil,
                let again = try? peer.receive(), again.header.id != question.header.id,
                (try? peer.send(dmaReadReply(id: again.header.id, 0x1000, [3, 4]))) != nil
            else { return }
            isRight.withLock { $0 = true }
        }
        #expect(throws: Errno.canceled) { try session.server.readClient(0x1000, 2) }
        #expect(session.server.hasRequests)
        // Nothing more is asked before: the client would not answer.
        #expect(throws: Errno.canceled) { try session.server.readClient(0x1000, 2) }
        #expect(throws: Errno.canceled) { try session.server.writeClient(0x1000, [1]) }
        #expect(try session.server.poll() == 1)
        #expect(!session.server.hasRequests)
        #expect(try session.server.readClient(0x1000, 2) == [3, 4])
        client.join()
        #expect(isRight.withLock { $0 })
        #expect(peer.isQuiet && session.server.isAttached)
        #expect(session.device.events.contains(.quiesce))
    }

    /// Late answers, right, wrong and errors, are ignored: by poll, and when another is awaited.
    @Test(arguments: [
        dmaReadReply(id: 1, 0x1000, [1, 2, 3, 4]), dmaReadReply(id: 1, 0x9000, [1]),
        message(11, id: 1, flags: .isError, errorNumber: 14),
    ])
    func lateAnswers(answer: [UInt8]) throws {
        let session = try abandoned()
        try session.peer.send(answer)
        #expect(try session.server.poll() == 0)
        #expect(session.peer.isQuiet)
        // Once: another one is none of its.
        try session.peer.send(answer)
        #expect(try session.server.poll() == 0)
        #expect(try session.peer.receive().error == .invalidArgument)

        let other = try abandoned()
        try other.peer.send(answer + dmaReadReply(id: 2, 0x1000, [9]))
        #expect(try other.server.readClient(0x1000, 1) == [9])
        #expect(try other.peer.receive().header.id == 2)
        #expect(other.peer.isQuiet && !other.server.hasRequests)
    }

    /// A late answer that comes byte by byte, between requests.
    @Test func lateAnswerInPieces() throws {
        let session = try abandoned()
        let read = message(.regionRead, bytes(UInt64(0), UInt32(0), UInt32(4)), id: 70)
        var handled = 0
        for byte in read + dmaReadReply(id: 1, 0x1000, [1, 2, 3, 4]) + read {
            try session.peer.send([byte])
            handled += try session.server.poll()
        }
        #expect(handled == 2)
        for _ in 0..<2 { #expect(try session.peer.receive().header.id == 70) }
        #expect(session.peer.isQuiet)
    }

    /// Behind the request that comes first are others, and the late answer between them.
    @Test func orderOfWhatWaits() throws {
        let session = try session()
        let peer = session.peer
        let write = bytes(UInt64(0), UInt32(0), UInt32(1)) + [9]
        var ids = [try peer.request(.dmaMap, Self.map), try peer.request(.regionWrite, write)]
        #expect(throws: Errno.canceled) { try session.server.writeClient(0x1000, [1]) }
        #expect(session.device.events.isEmpty)
        try peer.send(dmaWriteReply(id: 1, 0x1000, 1))
        ids.append(try peer.request(.regionWrite, write))
        #expect(try session.server.poll() == 2)
        #expect(try session.server.poll() == 1)
        #expect(
            session.device.events == [
                .quiesce, .added(0x40_0000, 0x1000), .write(.bar0, 0, [9]), .write(.bar0, 0, [9]),
            ])
        #expect(try peer.receive().header.command == Command.dmaWrite.rawValue)
        for id in ids { #expect(try peer.receive().header.id == id) }
        #expect(peer.isQuiet)
    }

    /// The number of a command that was given up is not used again before it was answered.
    @Test func numbers() throws {
        let session = try abandoned()
        session.server.nextCommandID = 1
        try session.peer.send(dmaReadReply(id: 2, 0x1000, [7]))
        #expect(try session.server.readClient(0x1000, 1) == [7])
        #expect(try session.peer.receive().header.id == 2)
    }

    /// A client that never answers is given up, as ever, and what it owes is forgotten with it.
    @Test func neverAnswered() throws {
        let session = try abandoned()
        for number in UInt64(1)..<64 {
            let map = DMAMap(flags: .read, offset: 0, address: 0x50_0000 + number << 12, size: 0x1000)
            try session.peer.request(.dmaMap, encoded(map))
            #expect(throws: Errno.canceled) { try session.server.readClient(0x1000, 4) }
            #expect(try session.server.poll() == 1)
        }
        session.server.outbound.stallLimit = 100
        try session.peer.request(.dmaUnmap, Self.unmap)
        #expect(throws: Errno.socketNotConnected) { try session.server.readClient(0x1000, 4) }
        #expect(!session.server.isAttached && session.server.abandonedCommands.isEmpty)
    }

    /// The client leaves instead of answering what was given up, or in the middle of it.
    @Test(arguments: [0, 1, 15, 16, 31, 33, 36]) func leaving(sent: Int) throws {
        let session = try abandoned()
        try session.peer.send(Array(dmaReadReply(id: 1, 0x1000, [1, 2, 3, 4]).prefix(sent)))
        session.peer.endSending()
        if sent == 36 { #expect(try session.server.poll() == 0) }
        #expect(throws: Errno.socketNotConnected) {
            while try session.server.poll() >= 0 {}
        }
        #expect(!session.server.isAttached && session.server.abandonedCommands.isEmpty)
    }

    /// Inside of a method of the device nothing is given up: the request is being worked on.
    @Test func withinARequest() throws {
        let session = try session()
        session.device.duringWrite = { server throws(Errno) in
            session.device.duringWrite = nil
            _ = try server.readClient(0x1000, 1)
        }
        defer { session.device.forgetHooks() }
        try session.peer.request(.regionWrite, bytes(UInt64(0), UInt32(0), UInt32(1)) + [1])
        try session.peer.request(.dmaMap, Self.map)
        let peer = session.peer
        let client = Background {
            // Later than the moment that an answer is awaited for elsewhere.
            pause(100)
            try? peer.send(dmaReadReply(id: 1, 0x1000, [5]))
        }
        #expect(try session.server.poll() == 2)
        client.join()
        #expect(session.server.lastRequestError == nil)
    }
}
