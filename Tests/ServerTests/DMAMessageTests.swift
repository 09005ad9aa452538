import Glibc
import SystemPackage
import Testing
import VFIOUserTransport
import VFIOUserWire

@testable import VFIOUserServer

/// DMA_READ and DMA_WRITE: the server asks, the client answers, on its second socket or among its own requests.
///
/// The answers are mostly sent before the question: the test has one thread, and the server's numbers are known.
@Suite struct DMAMessageTests {
    static let read = bytes(UInt64(0), UInt32(0), UInt32(4))

    /// A session with message memory at 0x1000, and where the answers go.
    struct Setup {
        let session: Session
        var answers: RawPeer { session.twin ?? session.peer }

        init(_ capabilities: String?) throws {
            session = try Session(capabilities)
            try session.map(0x1000, 0x200000)
            _ = session.device.takeEvents()
        }
    }

    @Test(arguments: [nil, twinCapabilities])
    func readsAndWrites(capabilities: String?) throws {
        let setup = try Setup(capabilities)
        let server = setup.session.server
        try setup.answers.send(dmaReadReply(id: 1, 0x1003, [1, 2, 3, 4, 5]))
        #expect(try server.readClient(0x1003, 5) == [1, 2, 3, 4, 5])
        let question = try setup.answers.receive()
        #expect(question.message == message(.dmaRead, bytes(UInt64(0x1003), UInt64(5)), id: 1))

        try setup.answers.send(dmaWriteReply(id: 2, 0x1100, 3))
        try server.writeClient(0x1100, [7, 8, 9])
        let order = try setup.answers.receive()
        #expect(order.message == message(.dmaWrite, bytes(UInt64(0x1100), UInt64(3)) + [7, 8, 9], id: 2))
        #expect(setup.answers.isQuiet)
        #expect(server.isAttached)
    }

    /// Within a request, whose reply comes after the question.
    @Test(arguments: [nil, twinCapabilities])
    func withinRequest(capabilities: String?) throws {
        let setup = try Setup(capabilities)
        let session = setup.session
        var got: [UInt8] = []
        session.device.duringWrite = { server throws(Errno) in got = try server.readClient(0x1000, 4) }
        let id = try session.peer.request(.regionWrite, bytes(UInt64(0), UInt32(0), UInt32(1)) + [1])
        try setup.answers.send(dmaReadReply(id: 1, 0x1000, [4, 3, 2, 1]))
        #expect(try session.server.poll() == 1)
        #expect(got == [4, 3, 2, 1])
        #expect(try setup.answers.receive().header.command == Command.dmaRead.rawValue)
        #expect(try session.peer.receive().header.id == id)
        #expect(session.peer.isQuiet)
    }

    /// Replies that wait are sent before the question: the client may need them to answer.
    @Test func earlierRepliesFirst() throws {
        let setup = try Setup(nil)
        let session = setup.session
        session.device.duringWrite = { server throws(Errno) in _ = try server.readClient(0x1000, 4) }
        try session.peer.request(.regionRead, Self.read)
        try session.peer.request(.regionWrite, bytes(UInt64(0), UInt32(0), UInt32(1)) + [1])
        try session.peer.send(dmaReadReply(id: 1, 0x1000, [4, 3, 2, 1]))
        #expect(try session.server.poll() == 2)
        for command in [.regionRead, .dmaRead, .regionWrite] as [Command] {
            #expect(try session.peer.receive().header.command == command.rawValue)
        }
    }

    /// Requests that cross the question on one socket are kept, and carried out later in their order.
    @Test func crossingRequests() throws {
        let setup = try Setup(nil)
        let session = setup.session
        var got: [UInt8] = []
        session.device.duringWrite = { server throws(Errno) in got += try server.readClient(0x1000, 2) }
        let watch = try File.Watch()
        let write = bytes(UInt64(0), UInt32(0), UInt32(1)) + [1]
        var ids = [try session.peer.request(.regionWrite, write)]
        ids.append(try session.peer.request(.regionRead, Self.read))
        ids.append(
            try session.peer.request(
                .dmaMap, encoded(DMAMap(flags: .read, offset: 0, address: 0, size: 0x1000)),
                [watch.takeFile()]))
        try session.peer.send(dmaReadReply(id: 1, 0x1000, [1, 2]))
        ids.append(try session.peer.request(.regionWrite, write))
        ids.append(try session.peer.request(.deviceReset))
        try session.peer.send(dmaReadReply(id: 2, 0x1000, [3, 4]))
        ids.append(try session.peer.request(.regionRead, Self.read))
        var handled = 0
        while handled < ids.count {
            let count = try session.server.poll()
            #expect(count > 0)
            handled += count
        }
        #expect(got == [1, 2, 3, 4])
        var replies: [UInt16] = []
        while replies.count < ids.count {
            let message = try session.peer.receive()
            if message.header.flags.isReply { replies.append(message.header.id) }
        }
        #expect(replies == ids)
        #expect(watch.isClosed)
        #expect(
            session.device.events == [
                .write(.bar0, 0, [1]), .read(.bar0, 0, 4), .quiesce, .write(.bar0, 0, [1]), .quiesce,
                .reset(.device), .read(.bar0, 0, 4),
            ])
    }

    /// Requests that cross a question asked outside of any request: the server says that they are there.
    @Test func crossingOutsideOfRequests() throws {
        let setup = try Setup(nil)
        let session = setup.session
        #expect(!session.server.hasRequests)
        // Half a request is there before, the other half comes with the answer.
        let request = message(.regionRead, Self.read, id: 77)
        try session.peer.send(Array(request[..<20]))
        #expect(try session.server.poll() == 0)
        try session.peer.send(Array(request[20...]) + dmaReadReply(id: 1, 0x1000, [5]))
        #expect(try session.server.readClient(0x1000, 1) == [5])
        #expect(session.server.hasRequests)
        #expect(session.device.events.isEmpty)
        #expect(try session.server.poll() == 1)
        #expect(!session.server.hasRequests)
        #expect(try session.peer.receive().header.command == Command.dmaRead.rawValue)
        #expect(try session.peer.receive().header.id == 77)
    }

    /// The same after so many polls in vain that the server has become wary of receiving.
    @Test func crossingAfterManyEmptyPolls() throws {
        let setup = try Setup(nil)
        let session = setup.session
        for _ in 0..<200 { #expect(try session.server.poll() == 0) }
        try session.peer.send(message(.regionRead, Self.read, id: 77) + dmaReadReply(id: 1, 0x1000, [5]))
        #expect(try session.server.readClient(0x1000, 1) == [5])
        #expect(try session.server.poll() == 1)
        #expect(try session.peer.receive().header.command == Command.dmaRead.rawValue)
        #expect(try session.peer.receive().header.id == 77)
    }

    /// Transfers are cut into what the client takes.
    @Test(arguments: [1, 7, 4096, 1 << 20, 5 << 20] as [Int])
    func pieces(limit: Int) throws {
        let setup = try Setup(
            #"{"capabilities":{"max_msg_fds":8,"max_data_xfer_size":\#(limit),"twin_socket":{"supported":true}}}"#
        )
        let twin = try #require(setup.session.twin)
        let piece = min(limit, 1 << 20)
        let total = limit <= 7 ? 50 : (limit == 4096 ? 10_000 : 0x180000)
        var random = SeededGenerator(seed: 1)
        let data = random.bytes(total)
        var questions: [(UInt64, Int)] = []
        let client = Background {
            while let question = try? twin.receive(), question.payload.count >= 16,
                let access = try? decoded(DMAAccess.self, question.payload)
            {
                let (place, count) = (Int(access.address) - 0x1000, Int(access.count))
                questions.append((access.address, count))
                let reply =
                    question.header.command == Command.dmaRead.rawValue
                    ? dmaReadReply(id: question.header.id, access.address, Array(data[place..<place + count]))
                    : dmaWriteReply(id: question.header.id, access.address, count)
                guard (try? twin.send(reply)) != nil else { return }
            }
        }
        let got = try setup.session.server.readClient(0x1000, total)
        try setup.session.server.writeClient(0x1000, data)
        setup.session.server.close()
        client.join()
        #expect(got == data)
        let expected = stride(from: 0, to: total, by: piece).map { min(piece, total - $0) }
        #expect(questions.map(\.1) == expected + expected)
    }

    /// Reads, and not writes, are cut into what the device asks for at most.
    @Test(arguments: [(100, [100, 100, 50]), (250, [250]), (1 << 40, [250]), (125, [125, 125])])
    func shorterReads(limit: Int, expected: [Int]) throws {
        let setup = try Setup(nil)
        let server = setup.session.server
        #expect(server.largestDMARead == .max)
        server.largestDMARead = limit
        let data = (0..<250).map { UInt8($0) }
        var place = 0
        for (index, count) in expected.enumerated() {
            try setup.answers.send(
                dmaReadReply(
                    id: UInt16(index + 1), 0x1000 + UInt64(place), Array(data[place..<place + count])))
            place += count
        }
        #expect(try server.readClient(0x1000, 250) == data)
        for count in expected {
            #expect(try decoded(DMAAccess.self, setup.answers.receive().payload).count == UInt64(count))
        }
        try setup.answers.send(dmaWriteReply(id: UInt16(expected.count + 1), 0x1000, 250))
        try server.writeClient(0x1000, data)
        #expect(try decoded(DMAAccess.self, setup.answers.receive().payload).count == 250)
    }

    /// One byte at a time is the least.
    @Test(arguments: [1, 0, -1, .min]) func shortestReads(limit: Int) throws {
        let setup = try Setup(nil)
        setup.session.server.largestDMARead = limit
        for id in [1, 2] as [UInt16] {
            try setup.answers.send(dmaReadReply(id: id, 0x1000 + UInt64(id - 1), [UInt8(id)]))
        }
        #expect(try setup.session.server.readClient(0x1000, 2) == [1, 2])
    }

    @Test(
        arguments: [
            (
                "another id", message(.dmaRead, bytes(UInt64(0x1000), UInt64(2)) + [1, 2], id: 9, flags: 1),
                .protocolError
            ),
            ("error", message(11, id: 1, flags: .isError, errorNumber: 28), .noSpace),
            (
                "error with payload", message(11, [1, 2, 3], id: 1, flags: .isError, errorNumber: 28),
                .noSpace
            ),
            ("error 0", message(11, id: 1, flags: .isError), .invalidArgument),
            ("error 4097", message(11, id: 1, flags: .isError, errorNumber: 4097), .invalidArgument),
            ("header only", message(11, id: 1, flags: 1), .invalidArgument),
            (
                "another address",
                message(.dmaRead, bytes(UInt64(0x1001), UInt64(2)) + [1, 2], id: 1, flags: 1),
                .invalidArgument
            ),
            (
                "another count",
                message(.dmaRead, bytes(UInt64(0x1000), UInt64(3)) + [1, 2, 3], id: 1, flags: 1),
                .invalidArgument
            ),
            (
                "a huge count",
                message(.dmaRead, bytes(UInt64(0x1000), UInt64.max) + [1, 2, 3], id: 1, flags: 1),
                .invalidArgument
            ),
            ("too small", message(11, id: 1, flags: 1, size: 15), .invalidArgument),
            ("too large", message(11, id: 1, flags: 1, size: 1_048_609), .invalidArgument),
        ] as [(String, [UInt8], Errno)],
        [nil, twinCapabilities])
    func wrongAnswers(_ answer: (name: String, bytes: [UInt8], error: Errno), capabilities: String?) throws {
        let setup = try Setup(capabilities)
        try setup.answers.send(answer.bytes)
        #expect(throws: answer.error) { try setup.session.server.readClient(0x1000, 2) }
        _ = try setup.answers.receive()
        // The connection goes on, in step.
        #expect(setup.session.server.isAttached)
        try setup.answers.send(dmaReadReply(id: 2, 0x1000, [6, 7]))
        #expect(try setup.session.server.readClient(0x1000, 2) == [6, 7])
        _ = try setup.answers.receive()
        try setup.session.succeed(.deviceGetInfo, encoded(DeviceInfo()))
    }

    /// More data than asked for is dropped; the command in the reply does not matter.
    @Test(arguments: [nil, twinCapabilities])
    func toleratedAnswers(capabilities: String?) throws {
        let setup = try Setup(capabilities)
        try setup.answers.send(
            message(99, bytes(UInt64(0x1000), UInt64(2)) + [1, 2, 3, 4], id: 1, flags: .isReply)
                + dmaReadReply(id: 2, 0x1000, [5, 6]))
        #expect(try setup.session.server.readClient(0x1000, 2) == [1, 2])
        #expect(try setup.session.server.readClient(0x1000, 2) == [5, 6])
    }

    /// Clients that go instead of answering, before, within, or with too short an answer.
    @Test(arguments: [nil, twinCapabilities], [0, 1, 15, 16, 31, 33])
    func goneInstead(capabilities: String?, sent: Int) throws {
        let setup = try Setup(capabilities)
        try setup.answers.send(Array(dmaReadReply(id: 1, 0x1000, [1, 2]).prefix(sent)))
        setup.answers.close()
        #expect(throws: Errno.socketNotConnected) { try setup.session.server.readClient(0x1000, 2) }
        #expect(!setup.session.server.isAttached)
        #expect(
            setup.session.device.events == [
                .quiesce, .removed(0x1000, 0x200000), .reset(.lostConnection),
            ])
        setup.session.expectDisconnect()
    }

    /// A piece by piece answer is waited for, a second message behind it kept.
    @Test func answerInPieces() throws {
        let setup = try Setup(nil)
        let peer = setup.session.peer
        let client = Background {
            for byte in dmaReadReply(id: 1, 0x1000, [1, 2, 3]) + message(.deviceReset, id: 5) {
                _ = try? peer.send([byte])
            }
        }
        #expect(try setup.session.server.readClient(0x1000, 3) == [1, 2, 3])
        client.join()
        while try setup.session.server.poll() == 0 {}
        #expect(setup.session.device.events == [.quiesce, .reset(.device)])
    }

    /// Descriptors that come with a reply are closed.
    @Test(arguments: [nil, twinCapabilities])
    func descriptorsWithAnswer(capabilities: String?) throws {
        let setup = try Setup(capabilities)
        let watch = try File.Watch()
        try setup.answers.send(dmaReadReply(id: 1, 0x1000, [1]), [watch.takeFile()])
        #expect(try setup.session.server.readClient(0x1000, 1) == [1])
        #expect(watch.isClosed)
    }

    /// A client that reads and writes hardly anything is given up in the end, however it spreads that out.
    @Test func stalls() throws {
        let setup = try Setup(twinCapabilities)
        let (server, twin) = (setup.session.server, try #require(setup.session.twin))
        server.outbound.stallLimit = 400
        let drip = Background {
            for byte in dmaReadReply(id: 1, 0x1000, [UInt8](repeating: 0, count: 600)) {
                guard (try? twin.send([byte])) != nil else { return }
                pause(20)
            }
        }
        let begin = milliseconds()
        #expect(throws: Errno.socketNotConnected) { try server.readClient(0x1000, 600) }
        #expect(milliseconds() - begin >= 400 && milliseconds() - begin < 9000)
        #expect(!server.isAttached)
        drip.join()
    }

    @Test func stallsReadingReplies() throws {
        let session = try Session()
        session.server.outbound.stallLimit = 400
        let access = bytes(UInt64(0), UInt32(2), UInt32(1 << 20))
        for _ in 0..<3 { try session.peer.request(.regionRead, access) }
        let stop = Locked(false)
        let drip = Background {
            var files: [File] = []
            while !stop.withLock({ $0 }), (try? session.peer.receive(100, &files)) != nil { pause(10) }
        }
        let begin = milliseconds()
        #expect(try session.server.poll() == 3)
        #expect(milliseconds() - begin >= 400 && milliseconds() - begin < 20_000)
        #expect(!session.server.isAttached)
        stop.withLock { $0 = true }
        session.peer.endSending()
        drip.join()
    }

    /// A reply of a megabyte finds room, wherever in the memory the request lies that it is for.
    @Test func largeAnswerBehindManyRequests() throws {
        let setup = try Setup(nil)
        let (server, peer) = (setup.session.server, setup.session.peer)
        let data = [UInt8](repeating: 0xab, count: 1 << 20)
        var last: [UInt8] = []
        setup.session.device.duringRead = { server throws(Errno) in
            last = try server.readClient(0x1000, 1 << 20)
        }
        // Batches that end in the middle of a message, so that the memory never becomes empty.
        let write = message(
            .regionWrite, bytes(UInt64(0), UInt32(0), UInt32(48)) + [UInt8](repeating: 1, count: 48),
            flags: .noReply)
        let batch = repeated(write, 1400)
        let client = Background {
            var answered = false
            for round in 0..<24 {
                _ = try? peer.send((round == 0 ? [] : Array(write[40...])) + batch + Array(write[..<40]))
            }
            _ = try? peer.send(Array(write[40...]) + message(.regionRead, Self.read, id: 9))
            while !answered, let message = try? peer.receive() {
                if message.header.command == Command.dmaRead.rawValue {
                    _ = try? peer.send(dmaReadReply(id: message.header.id, 0x1000, data))
                }
                answered = message.header.id == 9
            }
        }
        let reader = milliseconds()
        while setup.session.device.events.last != .read(.bar0, 0, 4), milliseconds() - reader < 20_000 {
            _ = try server.poll()
        }
        server.close()
        client.join()
        #expect(last == data)
    }
}
