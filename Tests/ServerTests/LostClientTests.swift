import Glibc
import SystemPackage
import Testing
import VFIOUserWire

@testable import VFIOUserServer

/// A client that goes while a device's method runs, or is found gone there.
@Suite struct LostClientTests {
    static let read = bytes(UInt64(0), UInt32(0), UInt32(4))

    /// A session with memory at 0x1000 that is reached by messages, and what a device gets that asks for it.
    final class Asking {
        let session: Session
        var errors: [Errno?] = []

        init(_ capabilities: String? = nil) throws {
            session = try Session(capabilities)
            try session.map(0x1000, 0x1000)
            try session.map(0x2000, 0x1000, .memory(0x1000))
            _ = session.device.takeEvents()
        }

        func ask(_ server: DeviceServer) {
            do throws(Errno) {
                _ = try server.readClient(0x1000, 16)
                errors.append(nil)
            } catch { errors.append(error) }
        }
    }

    @Test(arguments: [nil, twinCapabilities])
    func duringAccess(capabilities: String?) throws {
        let asking = try Asking(capabilities)
        let (session, device) = (asking.session, asking.session.device)
        defer { device.forgetHooks() }
        var reentered: Errno?
        device.duringRead = { server throws(Errno) in
            asking.ask(server)
            #expect(!server.isAttached)
            // The request is still being carried out, client or not.
            do throws(Errno) { try server.attach() } catch { reentered = error }
        }
        try session.peer.request(.regionRead, Self.read)
        try session.peer.request(.deviceReset)
        session.peer.close()
        session.twin?.close()
        #expect(try session.server.poll() == 1)
        #expect(asking.errors == [.socketNotConnected])
        #expect(reentered == .invalidArgument)
        #expect(
            device.events == [
                .read(.bar0, 0, 4), .quiesce, .removed(0x1000, 0x1000), .removed(0x2000, 0x1000),
                .reset(.lostConnection),
            ])
        session.expectDisconnect()
    }

    @Test func duringQuiesceForRequest() throws {
        let asking = try Asking()
        let (session, device) = (asking.session, asking.session.device)
        defer { device.forgetHooks() }
        device.duringQuiesce = { asking.ask($0) }
        try session.peer.request(.dmaUnmap, encoded(DMAUnmap(address: 0x1000, size: 0x1000)))
        session.peer.close()
        #expect(try session.server.poll() == 1)
        // Asked for the request and for the removal; the client's state stays until the device has answered.
        #expect(asking.errors == [.socketNotConnected, .noSuchFileOrDirectory])
        #expect(
            device.events == [
                .quiesce, .removed(0x1000, 0x1000), .quiesce, .removed(0x2000, 0x1000),
                .reset(.lostConnection),
            ])
        session.expectDisconnect()
    }

    @Test func duringQuiesceForRemoval() throws {
        let asking = try Asking()
        let (session, device) = (asking.session, asking.session.device)
        defer { device.forgetHooks() }
        device.duringQuiesce = { asking.ask($0) }
        session.peer.close()
        session.expectDisconnect()
        #expect(asking.errors == [.socketNotConnected])
        #expect(device.events.count { $0 == .quiesce } == 1)
        #expect(!session.server.isAttached)
    }

    @Test func duringRemovalOfMemory() throws {
        let asking = try Asking()
        let (session, device) = (asking.session, asking.session.device)
        defer { device.forgetHooks() }
        device.duringRemove = { _, server in asking.ask(server) }
        session.peer.close()
        session.expectDisconnect()
        #expect(asking.errors == [.socketNotConnected, .noSuchFileOrDirectory])
        #expect(
            device.events == [
                .quiesce, .removed(0x1000, 0x1000), .removed(0x2000, 0x1000), .reset(.lostConnection),
            ])
    }

    /// The device is told once of the mapping that the client asked to remove.
    @Test(arguments: [false, true])
    func duringUnmap(all: Bool) throws {
        let asking = try Asking()
        let (session, device) = (asking.session, asking.session.device)
        defer { device.forgetHooks() }
        device.duringRemove = { _, server in asking.ask(server) }
        try session.peer.request(
            .dmaUnmap, encoded(all ? .everything : DMAUnmap(address: 0x1000, size: 0x1000)))
        session.peer.close()
        #expect(try session.server.poll() == 1)
        #expect(asking.errors.first == .socketNotConnected)
        #expect(
            device.events.filter { if case .removed = $0 { true } else { false } }
                == [.removed(0x1000, 0x1000), .removed(0x2000, 0x1000)])
        #expect(device.events.last == .reset(.lostConnection))
        session.expectDisconnect()
    }

    @Test func duringMap() throws {
        let asking = try Asking()
        let (session, device) = (asking.session, asking.session.device)
        defer { device.forgetHooks() }
        device.duringAdd = { _, server in asking.ask(server) }
        try session.peer.request(
            .dmaMap, encoded(DMAMap(flags: .read, offset: 0, address: 0x8000, size: 0x1000)))
        session.peer.close()
        #expect(try session.server.poll() == 1)
        #expect(asking.errors == [.socketNotConnected])
        #expect(device.events.suffix(2) == [.removed(0x8000, 0x1000), .reset(.lostConnection)])
        session.expectDisconnect()
    }

    @Test func duringReset() throws {
        let asking = try Asking()
        let (session, device) = (asking.session, asking.session.device)
        defer { device.forgetHooks() }
        device.duringReset = { asking.ask($0) }
        try session.peer.request(.deviceReset)
        session.peer.close()
        #expect(try session.server.poll() == 1)
        // The reset for the lost client comes after the one that was asked for.
        #expect(asking.errors == [.socketNotConnected, .noSuchFileOrDirectory])
        #expect(device.events.suffix(1) == [.reset(.lostConnection)])
        session.expectDisconnect()
    }

    /// A batch of writes ends where its client does.
    @Test func duringBatch() throws {
        let session = try Session(#"{"capabilities":{"write_multiple":true}}"#)
        try session.map(0x1000, 0x1000)
        session.device.duringWrite = { server throws(Errno) in _ = try? server.readClient(0x1000, 16) }
        let write = encoded(RegionWriteMulti.Write(offset: 0, region: 0, count: 4, data: 1))
        _ = session.device.takeEvents()
        try session.peer.request(.regionWriteMulti, bytes(UInt64(3)) + write + write + write)
        session.peer.close()
        #expect(try session.server.poll() == 1)
        #expect(session.device.events.count { if case .write = $0 { true } else { false } } == 1)
        #expect(session.device.events.last == .reset(.lostConnection))
    }

    /// The device needs time to quiesce for the removal: nothing else is done for the client meanwhile.
    @Test func deferredRemovalHoldsRequestsBack() throws {
        let asking = try Asking()
        let (session, device) = (asking.session, asking.session.device)
        defer { device.forgetHooks() }
        device.quiesceAnswers = [.success(.pending)]
        device.duringRead = { asking.ask($0) }
        try session.peer.request(.regionRead, Self.read)
        try session.peer.request(.deviceReset)
        try session.peer.request(.regionRead, Self.read)
        session.peer.close()
        #expect(throws: Errno.resourceBusy) { try session.server.poll() }
        #expect(asking.errors == [.socketNotConnected])
        #expect(device.takeEvents() == [.read(.bar0, 0, 4), .quiesce])
        #expect(session.server.isAttached && session.server.isQuiescing)
        #expect(throws: Errno.resourceBusy) { try session.server.poll() }
        try session.server.quiesced()
        #expect(
            device.takeEvents() == [
                .removed(0x1000, 0x1000), .removed(0x2000, 0x1000), .reset(.lostConnection),
            ])
        #expect(!session.server.isQuiescing)
        session.expectDisconnect()
    }

    /// A device that cannot quiesce keeps the client's state until it can.
    @Test func failedRemovalIsTriedAgain() throws {
        let session = try Session()
        session.device.quiesceAnswers = [.failure(.ioError), .success(.pending)]
        session.peer.close()
        #expect(throws: Errno.ioError) { try session.server.poll() }
        #expect(session.server.isAttached)
        #expect(throws: Errno.resourceBusy) { try session.server.poll() }
        try session.server.quiesced(error: .ioError)
        #expect(session.server.isAttached && !session.server.isQuiescing)
        session.expectDisconnect()
        #expect(session.device.events.suffix(2) == [.quiesce, .reset(.lostConnection)])
    }

    /// The server may be closed from any of the device's methods.
    @Test(arguments: ["read", "quiesce", "deferred", "removal", "reset"])
    func closedFromWithin(method: String) throws {
        let session = try Session()
        let device = session.device
        try session.map(0x1000, 0x1000)
        try session.map(0x2000, 0x1000)
        _ = device.takeEvents()
        switch method {
        case "read": device.duringRead = { server throws(Errno) in server.close() }
        case "removal": device.duringRemove = { $1.close() }
        case "reset": device.duringReset = { $0.close() }
        default: device.duringQuiesce = { $0.close() }
        }
        if method == "deferred" { device.quiesceAnswers = [.success(.pending)] }
        try session.peer.request(.regionRead, Self.read)
        try session.peer.request(.dmaUnmap, encoded(DMAUnmap.everything))
        try session.peer.request(.deviceReset)
        _ = try session.server.poll()
        #expect(!session.server.isAttached && !session.server.isQuiescing)
        #expect(
            device.events.filter { if case .removed = $0 { true } else { false } }
                == [.removed(0x1000, 0x1000), .removed(0x2000, 0x1000)])
        #expect(device.events.count { $0 == .reset(.lostConnection) } == 1)
        session.expectDisconnect()
    }

    /// Replies with descriptors notice a lost client like others.
    @Test func replyWithDescriptors() throws {
        let file = try File.memory(0x1000)
        let session = try Session { server in
            try server.setRegion(
                .bar3,
                Region(
                    size: 0x1000, flags: [.readWrite, .memory], file: FileDescriptor(rawValue: file.number)))
        }
        try session.peer.request(.deviceGetRegionInfo, encoded(RegionInfo(index: 3, argsz: 64)))
        session.peer.close()
        #expect(try session.server.poll() == 1)
        #expect(!session.server.isAttached)
        #expect(session.device.events == [.quiesce, .reset(.lostConnection)])
    }

    @Test func halfClosedClientGetsItsReplies() throws {
        let session = try Session()
        try session.peer.request(.regionRead, Self.read)
        session.peer.endSending()
        #expect(try session.server.poll() == 1)
        #expect(try session.peer.receive().payload.count == 20)
        session.expectDisconnect()
        #expect(session.peer.isClosed)
    }
}
