import CLinux
import Glibc
import SystemPackage
import Testing
import VFIOUserTransport
import VFIOUserWire

@testable import VFIOUserServer

/// Requests that are answered while an answer to DMA_READ or DMA_WRITE is awaited
/// (``DeviceServer/answersWhileWaiting``).
@Suite struct CrossingTests {
    static let read = bytes(UInt64(0), UInt32(0), UInt32(4))
    static let write = bytes(UInt64(0), UInt32(0), UInt32(1)) + [9]

    /// A session with memory that is reached by messages at 0x1000.
    private func session(_ configure: ((DeviceServer) throws -> Void)? = nil) throws -> Session {
        let session = try Session(configure: configure)
        session.server.answersWhileWaiting = true
        session.server.outbound.stallLimit = 10_000
        try session.map(0x1000, 0x200000)
        _ = session.device.takeEvents()
        return session
    }

    /// Plays a client that, as QEMU, answers no question of the server's while it waits for a reply: before each answer
    /// come requests of its own, and their replies have to come first. It ends when it has answered so many questions.
    ///
    /// - Returns: the thread, and the numbers of requests whose replies came.
    private func stubbornClient(
        _ session: Session, questions: Int, crossing: @escaping (Int) -> [(Command, [UInt8])]
    ) -> (Background, Locked<[UInt16]>) {
        let peer = session.peer
        let answered = Locked<[UInt16]>([])
        let thread = Background {
            for number in 0..<questions {
                guard let question = try? peer.receive(),
                    let access = try? decoded(DMAAccess.self, question.payload)
                else { return }
                for (command, payload) in crossing(number) {
                    guard let id = try? peer.request(command, payload), let reply = try? peer.receive(),
                        reply.header.id == id, reply.error == nil
                    else { return }
                    answered.withLock { $0.append(id) }
                }
                let count = Int(access.count)
                let isRead = question.header.command == Command.dmaRead.rawValue
                let reply =
                    isRead
                    ? dmaReadReply(
                        id: question.header.id, access.address,
                        (0..<count).map { UInt8(truncatingIfNeeded: Int(access.address) + $0) })
                    : dmaWriteReply(id: question.header.id, access.address, count)
                guard (try? peer.send(reply)) != nil else { return }
            }
        }
        return (thread, answered)
    }

    @Test func clientsThatAnswerNothingMeanwhile() throws {
        let session = try session()
        let (client, answered) = stubbornClient(session, questions: 4) { number in
            Array(
                repeating: number % 2 == 0 ? (.regionRead, Self.read) : (.regionWrite, Self.write),
                count: number + 1)
        }
        for place in 0..<2 {
            let address = UInt64(0x1000 + place)
            #expect(try session.server.readClient(address, 1) == [UInt8(place)])
            try session.server.writeClient(address, [1])
        }
        client.join()
        #expect(answered.withLock { $0.count } == 10)
        #expect(session.device.events.count == 10)
        // Nothing is left, and all is in step.
        #expect(!session.server.hasRequests && session.peer.isQuiet)
        #expect(try session.readRegion(.bar0, 0, 1) == [9])
    }

    /// Every request that need not wait, between the pieces of a transfer.
    @Test func allThatCanBeAnswered() throws {
        let requests: [(Command, [UInt8])] = [
            (.regionRead, Self.read), (.regionWrite, Self.write),
            (.deviceGetInfo, encoded(DeviceInfo())),
            (.deviceGetRegionInfo, bytes(UInt32(32), UInt32(0), UInt32(0), UInt32(0), UInt64(0), UInt64(0))),
            (.deviceGetRegionIOFDs, bytes(UInt32(16), UInt32(0), UInt32(0), UInt32(0))),
            (.deviceGetIRQInfo, bytes(UInt32(16), UInt32(0), UInt32(2), UInt32(0))),
            // Mask vector 0 of INTx.
            (.deviceSetIRQs, bytes(UInt32(20), UInt32(9), UInt32(0), UInt32(0), UInt32(1))),
        ]
        let session = try session { try $0.setInterruptCount(.intx, 1) }
        let (client, answered) = stubbornClient(session, questions: 2) { _ in requests }
        // In two pieces.
        _ = try session.server.readClient(0x1000, (1 << 20) + 1)
        client.join()
        #expect(answered.withLock { $0.count } == 2 * requests.count)
        let masked = TestDevice.Event.masked(.intx, 0..<1, true)
        #expect(session.device.events.filter { $0 == masked }.count == 2)
    }

    /// What needs a quiesced device waits, and so does all behind it: order is kept.
    @Test func whatHasToWait() throws {
        let session = try session()
        let peer = session.peer
        let ids = [
            try peer.request(.regionRead, Self.read),
            try peer.request(.dmaUnmap, encoded(DMAUnmap(address: 0x1000, size: 0x200000))),
            try peer.request(.regionWrite, Self.write),
        ]
        try peer.send(dmaReadReply(id: 1, 0x1000, [5]))
        #expect(try session.server.readClient(0x1000, 1) == [5])
        let before = session.device.takeEvents()
        #expect(before == [TestDevice.Event.read(.bar0, 0, 4)])
        #expect(session.server.hasRequests)
        #expect(try session.server.poll() == 2)
        let expected: [TestDevice.Event] = [.quiesce, .removed(0x1000, 0x200000), .write(.bar0, 0, [9])]
        #expect(session.device.takeEvents() == expected)
        #expect(try peer.receive().header.command == Command.dmaRead.rawValue)
        for id in ids { #expect(try peer.receive().header.id == id) }
    }

    /// In a method of the device, whose request is being worked on, everything waits.
    @Test func withinARequest() throws {
        let session = try session()
        session.device.duringWrite = { server throws(Errno) in
            session.device.duringWrite = nil
            _ = try server.readClient(0x1000, 1)
        }
        defer { session.device.forgetHooks() }
        let first = try session.peer.request(.regionWrite, Self.write)
        let second = try session.peer.request(.regionRead, Self.read)
        try session.peer.send(dmaReadReply(id: 1, 0x1000, [5]))
        #expect(try session.server.poll() == 2)
        #expect(try session.peer.receive().header.command == Command.dmaRead.rawValue)
        for id in [first, second] { #expect(try session.peer.receive().header.id == id) }
    }

    /// What is carried out meanwhile cannot ask the client in turn: one question is under way at a time.
    @Test func nested() throws {
        let session = try session()
        var errors: [Errno] = []
        session.device.duringRead = { server throws(Errno) in
            do throws(Errno) { _ = try server.readClient(0x1100, 1) } catch { errors.append(error) }
            do throws(Errno) { try server.writeClient(0x1100, [1]) } catch { errors.append(error) }
            do throws(Errno) { _ = try server.poll() } catch { errors.append(error) }
        }
        defer { session.device.forgetHooks() }
        let (client, answered) = stubbornClient(session, questions: 1) { _ in [(.regionRead, Self.read)] }
        #expect(try session.server.readClient(0x1000, 1) == [0])
        client.join()
        #expect(errors == [.resourceBusy, .resourceBusy, .invalidArgument])
        #expect(answered.withLock { $0.count } == 1)
        // And then it can again.
        session.device.forgetHooks()
        try session.peer.send(dmaReadReply(id: 2, 0x1000, [6]))
        #expect(try session.server.readClient(0x1000, 1) == [6])
    }

    /// Requests without end do not hold the server for longer than silence does.
    @Test func endlessRequests() throws {
        let session = try session()
        session.server.outbound.stallLimit = 300
        let peer = session.peer
        let flood = Background {
            let request = message(.regionWrite, Self.write, id: 1, flags: 0x10)
            while (try? peer.send(request)) != nil {}
        }
        let begin = milliseconds()
        #expect(throws: Errno.socketNotConnected) { try session.server.readClient(0x1000, 1) }
        #expect(milliseconds() - begin >= 300 && milliseconds() - begin < 9000)
        #expect(!session.server.isAttached)
        flood.join()
    }

    /// The client leaves in the middle: before, within and behind a request that crosses.
    @Test(arguments: 0...60) func leaving(sent: Int) throws {
        let session = try session()
        let all = message(.regionRead, Self.read, id: 5) + message(.regionWrite, Self.write, id: 6)
        try session.peer.send(Array(all.prefix(sent)))
        session.peer.endSending()
        #expect(throws: Errno.socketNotConnected) { try session.server.readClient(0x1000, 1) }
        #expect(!session.server.isAttached)
        #expect(session.device.events.contains(.reset(.lostConnection)))
    }

    /// The device finds in the middle of such a request that it does not want this client any more.
    @Test func deviceGivesTheClientUp() throws {
        let session = try session()
        session.device.duringRead = { server throws(Errno) in session.peer.close() }
        defer { session.device.forgetHooks() }
        try session.peer.request(.regionRead, Self.read)
        #expect(throws: Errno.socketNotConnected) { try session.server.readClient(0x1000, 1) }
        #expect(!session.server.isAttached)
    }

    /// A reply that cannot be sent, for its descriptor is none, is no failure of the access to memory.
    @Test func replyThatCannotBeSent() throws {
        let session = try session {
            try $0.setRegion(
                .bar2,
                Region(
                    size: 4096, flags: [.readWrite, .memory], file: FileDescriptor(rawValue: 1 << 20),
                    mappableAreas: [Region.Area(offset: 0, size: 4096)]))
        }
        let info = bytes(UInt32(64), UInt32(0), UInt32(2), UInt32(0), UInt64(0), UInt64(0))
        try session.peer.request(.deviceGetRegionInfo, info)
        try session.peer.send(dmaReadReply(id: 1, 0x1000, [5]))
        #expect(try session.server.readClient(0x1000, 1) == [5])
        #expect(session.server.lastRequestError == .badFileDescriptor)
        #expect(try session.peer.receive().header.command == Command.dmaRead.rawValue)
        #expect(session.peer.isQuiet && session.server.isAttached)
    }

    /// Descriptors of a request that crosses reach it.
    @Test func descriptors() throws {
        let session = try session { try $0.setInterruptCount(.msix, 2) }
        let event = File(adopting: try check(clx_eventfd(0, 0)))
        // The eventfd for vector 1 of MSI-X.
        let set = bytes(UInt32(20), UInt32(0x24), UInt32(2), UInt32(1), UInt32(1))
        try session.peer.request(.deviceSetIRQs, set, [event])
        try session.peer.send(dmaReadReply(id: 1, 0x1000, [5]))
        #expect(try session.server.readClient(0x1000, 1) == [5])
        #expect(try session.peer.receive().header.command == Command.dmaRead.rawValue)
        #expect(try session.peer.receive().error == nil)
        try session.server.triggerInterrupt(1)
        #expect(clx_take_event(event.number) == 0)
    }
}
