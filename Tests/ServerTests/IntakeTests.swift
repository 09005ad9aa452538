import Glibc
import SystemPackage
import Testing
import VFIOUserWire

@testable import VFIOUserServer

/// What happens to messages before their commands matter, and the order they are worked in.
@Suite struct IntakeTests {
    static let read = bytes(UInt64(0), UInt32(0), UInt32(4))
    static let info = encoded(DeviceInfo())

    @Test func nothingThere() throws {
        let session = try Session()
        for _ in 0..<3 { #expect(try session.server.poll() == 0) }
    }

    @Test func beforeRealizeAndAttach() throws {
        let (_, theirs) = try RawPeer.pair()
        let server = try TestDevice().server(at: .connected(theirs))
        #expect(throws: Errno.invalidArgument) { try server.poll() }
        try server.realize()
        #expect(throws: Errno.socketNotConnected) { try server.poll() }
        #expect(throws: Errno.invalidArgument) { try server.quiesced() }
    }

    // MARK: Malformed and unknown

    /// Messages that are refused whatever is in them. Their bodies are skipped: the next message is understood.
    @Test(
        arguments: [
            ("reply", message(.deviceReset, [], id: 3, flags: 1)),
            ("type 2", message(.deviceGetInfo, info, id: 3, flags: 2)),
            ("type 15", message(.deviceGetInfo, info, id: 3, flags: 15)),
            ("no payload", message(.deviceGetInfo, [], id: 3)),
            ("no payload, unknown", message(0xffff, [], id: 3)),
            ("size 0", message(4, id: 3, size: 0)),
            ("size 15", message(4, id: 3, size: 15)),
            ("size too large", message(4, id: 3, size: 1_048_609)),
            ("size largest", message(4, id: 3, size: .max)),
        ])
    func refused(name: String, request: [UInt8]) throws {
        let session = try Session()
        try session.peer.send(request)
        #expect(try session.server.poll() == 0)
        let reply = try session.peer.receive()
        #expect(reply.header.id == 3)
        #expect(reply.header.flags.rawValue == .isError)
        #expect(reply.error == .invalidArgument)
        #expect(reply.payload.isEmpty)
        #expect(session.peer.isQuiet)
        try session.succeed(.deviceGetInfo, Self.info)
        #expect(session.device.events.isEmpty)
    }

    @Test(arguments: [0, 1, 11, 12, 14, 19, 200, 0x7fff, 0x8001, 0xffff] as [UInt16])
    func unknownCommand(command: UInt16) throws {
        let session = try Session()
        let request = message(command, [UInt8](repeating: 0, count: 64), id: 5)
        try session.peer.send(request)
        #expect(try session.server.poll() == 1)
        let reply = try session.peer.receive()
        #expect(reply.header.command == command && reply.error == .invalidArgument)
        #expect(session.server.lastRequestError == .invalidArgument)
        try session.succeed(.deviceGetInfo, Self.info)
        #expect(session.server.lastRequestError == nil)
    }

    /// Bits of a command that mean nothing.
    @Test(arguments: [0x20, 0x40, 0x8000_0000, 0xffff_ffe0] as [UInt32])
    func ignoredFlags(flags: UInt32) throws {
        let session = try Session()
        #expect(try session.call(.deviceGetInfo, Self.info, flags: flags).error == nil)
    }

    @Test func noReply() throws {
        let session = try Session()
        let peer = session.peer
        try peer.request(
            .regionWrite, bytes(UInt64(8), UInt32(0), UInt32(2), UInt16(0xabcd)), flags: .noReply)
        try peer.request(.regionWrite, bytes(UInt64(8), UInt32(99), UInt32(0)), flags: .noReply)
        try peer.request(.deviceGetInfo, [], flags: .noReply)
        try peer.request(.deviceGetRegionInfo, encoded(RegionInfo(index: 0)), flags: .noReply)
        try peer.send(message(77, [1], flags: .noReply))
        #expect(try session.server.poll() == 4)
        #expect(peer.isQuiet)
        #expect(session.device.events == [.write(.bar0, 8, [0xcd, 0xab])])
        #expect(try session.readRegion(.bar0, 8, 2) == [0xcd, 0xab])
    }

    /// The least payload of every command is judged before anything is done.
    @Test(
        arguments: [
            (.dmaMap, 32), (.dmaUnmap, 24), (.deviceGetInfo, 16), (.deviceGetRegionInfo, 32),
            (.deviceGetRegionIOFDs, 16), (.deviceGetIRQInfo, 16), (.deviceSetIRQs, 20), (.regionRead, 16),
            (.regionWrite, 16), (.regionWriteMulti, 8),
        ] as [(Command, Int)])
    func shortPayload(command: Command, least: Int) throws {
        let session = try Session(#"{"capabilities":{"write_multiple":true}}"#)
        for count in 1..<least {
            try session.fail(.invalidArgument, command, [UInt8](repeating: 0xff, count: count))
            try session.fail(.invalidArgument, command, [UInt8](repeating: 0, count: count))
        }
        #expect(session.device.events.allSatisfy { $0 == .quiesce })
    }

    // MARK: Batches

    @Test func manyAtOnce() throws {
        let session = try Session()
        let count = 500
        var batch: [UInt8] = []
        for number in 0..<count {
            batch += message(
                .regionWrite, bytes(UInt64(number * 4), UInt32(0), UInt32(4), UInt32(number)),
                id: UInt16(number))
        }
        try session.peer.send(batch)
        #expect(try session.server.poll() == count)
        for number in 0..<count {
            let reply = try session.peer.receive()
            #expect(reply.header.id == UInt16(number) && reply.error == nil)
        }
        #expect(session.peer.isQuiet)
        #expect(
            session.device.events
                == (0..<count).map { .write(.bar0, UInt64($0 * 4), bytes(UInt32($0))) })
    }

    /// A quiesce that takes its time in the middle of a batch: the rest is carried out when it is over, all of it, though
    /// the socket shows nothing.
    @Test func deferredQuiesceWithinBatch() throws {
        let session = try Session()
        let (device, server, peer) = (session.device, session.server, session.peer)
        device.quiesceAnswers = [.success(.pending)]
        for command in [.regionRead, .deviceReset, .regionRead, .deviceReset, .regionRead] as [Command] {
            try peer.request(command, command == .regionRead ? Self.read : [])
        }
        #expect(throws: Errno.resourceBusy) { try server.poll() }
        #expect(server.isQuiescing)
        #expect(try peer.receive().header.command == Command.regionRead.rawValue)
        #expect(peer.isQuiet)
        #expect(device.takeEvents() == [.read(.bar0, 0, 4), .quiesce])
        // What arrives now stays in the socket.
        try peer.request(.deviceGetInfo, Self.info)
        #expect(throws: Errno.resourceBusy) { try server.poll() }
        #expect(peer.isQuiet)
        try server.quiesced()
        // The device stays quiesced until that returns: the second reset does not ask again.
        #expect(
            device.takeEvents() == [
                .reset(.device), .read(.bar0, 0, 4), .reset(.device), .read(.bar0, 0, 4),
            ])
        for command in [.deviceReset, .regionRead, .deviceReset, .regionRead] as [Command] {
            #expect(try peer.receive().header.command == command.rawValue)
        }
        #expect(peer.isQuiet)
        #expect(try server.poll() == 1)
        #expect(try peer.receive().header.command == Command.deviceGetInfo.rawValue)
    }

    @Test func failedQuiesceWithinBatch() throws {
        let session = try Session()
        let (device, server, peer) = (session.device, session.server, session.peer)
        device.quiesceAnswers = [.success(.pending), .success(.pending), .failure(.ioError)]
        for _ in 0..<4 { try peer.request(.deviceReset) }
        try peer.request(.regionRead, Self.read)
        #expect(throws: Errno.resourceBusy) { try server.poll() }
        try server.quiesced(error: .strange)
        #expect(try peer.receive().error == .strange)
        // The next one has to wait in turn.
        #expect(server.isQuiescing && peer.isQuiet)
        #expect(device.takeEvents() == [.quiesce, .quiesce])
        try server.quiesced()
        for _ in 0..<3 { #expect(try peer.receive().error == nil) }
        #expect(try peer.receive().header.command == Command.regionRead.rawValue)
        #expect(
            device.takeEvents() == [.reset(.device), .reset(.device), .reset(.device), .read(.bar0, 0, 4)])
        #expect(throws: Errno.invalidArgument) { try server.quiesced() }
        // A device that cannot quiesce says so at once.
        try peer.request(.deviceReset)
        #expect(try server.poll() == 0)
        #expect(try peer.receive().error == .ioError)
        #expect(device.takeEvents() == [.quiesce])
    }

    /// Large requests and replies in one batch.
    @Test func largeMessages() throws {
        let session = try Session()
        var random = SeededGenerator(seed: 5)
        let data = random.bytes(1 << 20)
        let access = bytes(UInt64(1 << 20), UInt32(2), UInt32(1 << 20))
        let sender = Background {
            _ = try? session.peer.send(message(.regionWrite, access + data, id: 1))
            _ = try? session.peer.send(message(.regionRead, access, id: 2))
            _ = try? session.peer.send(message(.regionRead, access, id: 3))
        }
        var replies: [Received] = []
        let receiver = Background {
            while replies.count < 3, let reply = try? session.peer.receive() { replies.append(reply) }
        }
        let begin = milliseconds()
        var handled = 0
        while handled < 3, milliseconds() - begin < 10_000 { handled += try session.server.poll() }
        sender.join()
        receiver.join()
        #expect(replies.map(\.header.id) == [1, 2, 3])
        #expect(replies.first?.payload == access)
        #expect(replies.dropFirst().allSatisfy { $0.payload == access + data })
    }

    // MARK: Pieces

    /// A session of messages of every kind, with descriptors, and what has to come of it.
    struct Script {
        var messages: [(bytes: [UInt8], files: Int)] = []
        let ram: File
        let events: [File]

        /// - Parameter makeEvent: makes what interrupts are signalled with.
        init(_ makeEvent: () throws -> File = { try .event() }) throws {
            ram = try .memory(0x10000)
            events = [try makeEvent(), try makeEvent(), try makeEvent()]
            add(.deviceGetInfo, IntakeTests.info)
            add(.dmaMap, encoded(DMAMap(flags: [.read, .write], offset: 0, address: 0, size: 0x8000)), 1)
            add(.dmaMap, encoded(DMAMap(flags: .read, offset: 0, address: 0x10000, size: 0x1000)))
            add(
                .deviceSetIRQs,
                encoded(SetIRQs(flags: [.dataEventFD, .trigger], index: 2, start: 0, count: 3)), 3)
            add(.regionWrite, bytes(UInt64(16), UInt32(0), UInt32(4), UInt32(0x0403_0201)))
            add(
                .deviceSetIRQs,
                encoded(SetIRQs(flags: [.dataBool, .trigger], index: 2, start: 1, count: 2)) + [1, 0])
            add(.dmaMap, encoded(DMAMap(flags: .write, offset: 0x8000, address: 0x8000, size: 0x4000)), 1)
            add(.regionRead, bytes(UInt64(16), UInt32(0), UInt32(4)))
            add(.deviceReset, [])
            add(.dmaUnmap, encoded(DMAUnmap(address: 0x10000, size: 0x1000)))
            add(.regionRead, bytes(UInt64(0), UInt32(7), UInt32(8)))
        }

        mutating func add(_ command: Command, _ payload: [UInt8], _ files: Int = 0) {
            messages.append((message(command, payload, id: UInt16(messages.count)), files))
        }

        /// The descriptors of a message.
        func files(_ count: Int) -> [File] { count == 1 ? [ram] : Array(events.prefix(count)) }

        /// All bytes, and where messages with descriptors begin.
        var stream: [UInt8] { messages.flatMap(\.bytes) }

        func verify(_ session: Session, _ replies: [Received], _ note: Comment) throws {
            #expect(replies.map(\.header.id) == messages.indices.map { UInt16($0) }, note)
            #expect(replies.allSatisfy { $0.error == nil }, note)
            #expect(replies[7].payload.suffix(4) == [1, 2, 3, 4], note)
            #expect(replies[10].payload.suffix(8).prefix(4) == [0xf4, 0x1a, 0x10, 0x11], note)
            #expect(events.map { $0.events() } == [0, 1, 0], note)
            #expect(
                session.device.takeEvents() == [
                    .quiesce, .added(0, 0x8000), .quiesce, .added(0x10000, 0x1000),
                    .write(.bar0, 16, [1, 2, 3, 4]), .quiesce, .added(0x8000, 0x4000), .read(.bar0, 16, 4),
                    .quiesce, .reset(.device), .quiesce, .removed(0x10000, 0x1000),
                ], note)
            // The right file is behind each mapping, shared with the client.
            try session.server.writeClient(0x8000 + 5, [9, 8, 7])
            #expect(ram.contents(at: 0x8005, count: 3) == [9, 8, 7], note)
            ram.put([5, 5], at: 0x7ffe)
            #expect(try session.server.readClient(0x7ffe, 2) == [5, 5], note)
        }
    }

    /// Sends pieces, with the descriptors on the first bytes of their messages, polling after each.
    static func play(_ script: Script, _ session: Session, splitAt places: Set<Int>) throws -> [Received] {
        var position = 0
        var replies: [Received] = []
        for (bytes, fileCount) in script.messages {
            let cuts = [0] + places.map { $0 - position }.filter { $0 > 0 && $0 < bytes.count }.sorted()
            for (index, cut) in cuts.enumerated() {
                let end = index + 1 < cuts.count ? cuts[index + 1] : bytes.count
                try session.peer.send(
                    Array(bytes[cut..<end]), cut == 0 ? script.files(fileCount) : [])
                if end < bytes.count { _ = try session.server.poll() }
            }
            if places.contains(position + bytes.count) || position + bytes.count == script.stream.count {
                _ = try session.server.poll()
                // Whatever the kernel gave in one receive; the rest is still there to be had.
                while try session.server.poll() > 0 {}
            }
            position += bytes.count
        }
        while replies.count < script.messages.count { replies.append(try session.peer.receive()) }
        return replies
    }

    @Test func wholeStreamAtOnce() throws {
        let (script, session) = (try Script(), try Session())
        try script.verify(session, try Self.play(script, session, splitAt: []), "at once")
    }

    @Test func splitAtEveryByte() throws {
        let script = try Script()
        for place in 1..<script.stream.count {
            let session = try Session()
            try script.verify(
                session, try Self.play(script, session, splitAt: [place]), "split at \(place)")
            session.server.close()
        }
    }

    @Test func byteByByte() throws {
        let (script, session) = (try Script(), try Session())
        let everywhere = Set(1..<script.stream.count)
        try script.verify(session, try Self.play(script, session, splitAt: everywhere), "bytes")
    }

    @Test func splitAtRandom() throws {
        let script = try Script()
        for _ in 0..<100 {
            let seed = UInt64.random(in: .min ... .max)
            var random = SeededGenerator(seed: seed)
            let places = Set(
                (0..<Int.random(in: 0...20, using: &random)).map { _ in
                    Int.random(in: 1..<script.stream.count, using: &random)
                })
            let session = try Session()
            try script.verify(
                session, try Self.play(script, session, splitAt: places), "seed \(seed)")
            session.server.close()
        }
    }
}

extension Errno {
    /// Some error no code of the library uses.
    static var strange: Errno { Errno(rawValue: 42) }
}
