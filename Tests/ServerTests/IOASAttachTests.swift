import SystemPackage
import Testing
import VFIOUserAddressSpace
import VFIOUserWire

@testable import VFIOUserServer

/// ATTACH_PT, DETACH_PT, IOAS_DESTROY, and what the device is told.
@Suite struct IOASAttachTests {
    private func descending(_ session: IOASSession) throws -> (one: UInt32, two: UInt32, file: IOASFile) {
        let file = try IOASFile(size: 0x10000)
        let (one, two) = (try session.allocate(), try session.allocate())
        for iova in [0x3000, 0x1000, 0x2000] as [UInt64] { try session.map(one, file, at: iova) }
        for iova in [0x2000, 0x8000] as [UInt64] { try session.map(two, file, at: iova, length: 0x2000) }
        #expect(session.device.takeEvents() == [])
        return (one, two, file)
    }

    /// All of the old is unregistered, then all of the new registered: at no time is there a mixture.
    @Test func replacesInOneStep() throws {
        let session = try IOASSession(features: .all)
        let (one, two, _) = try descending(session)
        let (device, server) = (session.device, session.server)
        // Pages that the device sees while it is told.
        var seen: [[UInt64]] = []
        func look(_ server: DeviceServer) {
            seen.append(
                (0..<12).map { $0 << 12 }.filter { page in
                    if case .success = server.translation(page) { return true }
                    return false
                })
        }
        device.whenAdded = { look($1) }
        device.whenRemoved = { look($1) }
        device.whenAttached = { look($1) }
        let old = [0x1000, 0x2000, 0x3000] as [UInt64]
        let new = [0x2000, 0x3000, 0x8000, 0x9000] as [UInt64]

        #expect(server.attachedIOAS == nil)
        try session.attach(one)
        #expect(server.attachedIOAS == one)
        #expect(
            device.takeEvents() == [
                .quiesce, .attached(one), .added(0x1000, 4096), .added(0x2000, 4096), .added(0x3000, 4096),
            ])
        #expect(seen == [old, old, old, old])
        seen = []
        try session.attach(two)
        #expect(
            device.takeEvents() == [
                .quiesce, .removed(0x1000, 4096), .removed(0x2000, 4096), .removed(0x3000, 4096),
                .attached(two), .added(0x2000, 8192), .added(0x8000, 8192),
            ])
        #expect(seen == [old, old, old, new, new, new])
        // Again the same: nothing happens.
        try session.attach(two)
        #expect(device.takeEvents() == [.quiesce])
        #expect(try session.error(of: .attachPT, AttachPT(ioasID: 99)) == .noSuchFileOrDirectory)
        #expect(device.takeEvents() == [.quiesce])
        seen = []
        try session.detach()
        #expect(
            device.takeEvents() == [
                .quiesce, .removed(0x2000, 8192), .removed(0x8000, 8192), .attached(nil),
            ])
        #expect(seen == [new, new, []])
        #expect(server.attachedIOAS == nil)
        #expect(try session.error(of: .detachPT, DetachPT()) == .invalidArgument)
    }

    /// Section 7.1.
    @Test func onlyTheAttachedIsSeen() throws {
        let session = try IOASSession(features: .all)
        let other = try IOASSession(features: .all)
        let (one, two, file) = try descending(session)
        let another = try other.allocate()
        try other.map(another, file, at: 0x2_0000)
        try other.attach(another)
        // Nothing is attached.
        #expect(session.translationError(0x1000) == .noSuchFileOrDirectory)
        try session.attach(one)
        let entry = try #require(try session.translate(0x1000, 8).get().first)
        #expect(session.sees(0x1000) && !other.sees(0x1000) && other.sees(0x2_0000))
        #expect(!session.sees(0x2_0000) && !session.sees(0x8000))
        // An entry of one device is nothing to another.
        #expect(throws: Errno.invalidArgument) { try other.server.translator.validate(entry) }
        try session.attach(two)
        #expect(session.translationError(0x1000) == .noSuchFileOrDirectory)
        #expect(session.sees(0x8000))
        #expect(throws: Errno.invalidArgument) { try session.server.translator.validate(entry) }
        try session.attach(one)
        // The same mapping, but a new attachment.
        #expect(throws: Errno.invalidArgument) { try session.server.translator.validate(entry) }
        #expect(session.sees(0x1000))
        try session.unmap(one, 0x1000, 0x1000)
        #expect(session.translationError(0x1000) == .noSuchFileOrDirectory)
        try session.detach()
        #expect(!session.sees(0x2000))
        #expect(errno(ioas: { _ = try session.peek(0x2000, 1) }) == .noSuchFileOrDirectory)
        try session.destroy(one)
        try session.attach(two)
        #expect(session.sees(0x2000))
        session.leave()
        #expect(errno(ioas: { _ = try session.server.poll() }) == .socketNotConnected)
        #expect(!session.sees(0x2000) && !session.sees(0x8000))
        #expect(other.sees(0x2_0000))
        #expect(file.mappings().count == 1)
    }

    @Test func detachKeepsTheMappings() throws {
        let session = try IOASSession(features: .all)
        let (one, _, file) = try descending(session)
        try file.fill([42], at: 0)
        try session.attach(one)
        let record = try unsafe #require(session.server.dmaRegion(at: 0x1000, size: 4096)).mapping.info
        try session.detach()
        #expect(session.server.dmaRegion(at: 0x1000, size: 4096) == nil)
        try session.map(one, file, at: 0x9000)
        #expect(file.mappings().count == 6)
        try session.attach(one)
        #expect(try session.peek(0x1000, 1) == [42])
        #expect(session.sees(0x9000))
        // What the C interface hands out stays where it is.
        #expect(
            try unsafe #require(session.server.dmaRegion(at: 0x1000, size: 4096)).mapping.info == record)
    }

    @Test func destroy() throws {
        let session = try IOASSession(features: .all)
        let (one, two, file) = try descending(session)
        _ = try session.succeed(.compatIOAS, CompatIOAS(.set, ioasID: two))
        try session.attach(one)
        session.device.events = []
        #expect(try session.error(of: .ioasDestroy, IOASDestroy(ioasID: one)) == .resourceBusy)
        try session.destroy(two)
        // It was not attached, so there is nothing to tell.
        #expect(session.device.takeEvents() == [.quiesce, .quiesce])
        #expect(file.mappings().count == 3)
        #expect(try session.error(of: .compatIOAS, CompatIOAS(.get)) == .operationNotSupportedByDevice)
        try session.detach()
        try session.destroy(one)
        #expect(file.mappings().isEmpty && file.descriptorCount() == 1)
        #expect(try session.error(of: .ioasDestroy, IOASDestroy(ioasID: one)) == .noSuchFileOrDirectory)
        #expect(try session.error(of: .attachPT, AttachPT(ioasID: one)) == .noSuchFileOrDirectory)
    }

    @Test func bind() throws {
        let session = try IOASSession(features: [])
        let id = try session.allocate()
        // It is not needed.
        try session.attach(id)
        #expect(try session.succeed(.bind, Bind(iommufd: -7)).decoded(Bind.self).deviceID == 1)
        #expect(try session.error(of: .bind, Bind()) == .fileExists)
    }

    /// The device is told before the client, and only of what it sees.
    @Test func mapAndUnmap() throws {
        let session = try IOASSession(features: .all)
        let file = try IOASFile(size: 0x10000)
        let (one, two) = (try session.allocate(), try session.allocate())
        try session.attach(one)
        session.device.events = []
        var answered: [Bool] = []
        defer { session.device.forgetHooks() }
        session.device.whenAdded = { region, _ in
            answered.append(!session.isSilent)
            #expect(region.userAddress == 0xabcd && region.addressSpace == one)
            #expect(session.sees(region.address, region.size))
        }
        session.device.whenRemoved = { region, _ in
            answered.append(!session.isSilent)
            #expect(session.sees(region.address, region.size) && file.mappings().count > 0)
        }
        try session.map(one, file, at: 0x1000, userVA: 0xabcd)
        try session.map(one, nil, at: 0x2000, userVA: 0xabcd)
        try session.map(two, file, at: 0x3000)
        try session.copy(two, 0x3000, 4096, to: two)
        #expect(
            session.device.takeEvents() == [.quiesce, .added(0x1000, 4096), .quiesce, .added(0x2000, 4096)])
        try session.copy(one, 0x1000, 2048, to: one, at: 0x8000)
        #expect(session.device.takeEvents() == [.quiesce, .added(0x8000, 2048)])
        try session.unmap(one, 0, 0x8000)
        #expect(
            session.device.takeEvents() == [.quiesce, .removed(0x1000, 4096), .removed(0x2000, 4096)])
        try session.unmapAll(one)
        #expect(session.device.takeEvents() == [.quiesce, .removed(0x8000, 2048)])
        try session.unmapAll(two)
        #expect(session.device.takeEvents() == [.quiesce])
        #expect(answered == [false, false, false, false, false, false])
        #expect(file.mappings().isEmpty)
    }

    /// Which commands wait for the device.
    @Test func quiescing() throws {
        let session = try IOASSession(features: .all)
        let file = try IOASFile(size: 4096)
        let (one, two) = (try session.allocate(), try session.allocate())
        func quiesces(_ command: Command, _ payload: some WirePayload, _ fds: [CInt] = []) throws -> Bool {
            session.device.events = []
            _ = try session.call(command, encoded(ioas: payload), fds)
            return session.device.takeEvents().first == .quiesce
        }
        func map(_ id: UInt32) -> VFIOUserWire.IOASMap {
            VFIOUserWire.IOASMap(ioasID: id, flags: .readable, length: 4096)
        }
        func copy(_ from: UInt32, _ to: UInt32) -> IOASCopy {
            IOASCopy(sourceID: from, destinationID: to, flags: .readable, sourceIOVA: 4096, length: 4096)
        }
        #expect(try !quiesces(.ioasMap, map(one), [file.number]))
        #expect(try quiesces(.attachPT, AttachPT(ioasID: one)))
        #expect(try quiesces(.ioasMap, map(one), [file.number]))
        #expect(try !quiesces(.ioasMap, map(two), [file.number]))
        #expect(try quiesces(.ioasCopy, copy(two, one)))
        #expect(try !quiesces(.ioasCopy, copy(one, two)))
        #expect(try quiesces(.ioasUnmap, IOASUnmap(ioasID: two, flags: .all, iova: 0, length: 0)))
        #expect(try quiesces(.ioasUnmap, IOASUnmap(ioasID: one, iova: 77, length: 1)))
        #expect(try quiesces(.ioasDestroy, IOASDestroy(ioasID: two)))
        #expect(try quiesces(.ioasDestroy, IOASDestroy(ioasID: 99)))
        #expect(try quiesces(.detachPT, DetachPT()))
        #expect(try quiesces(.detachPT, DetachPT()))
        #expect(try !quiesces(.ioasAlloc, IOASAlloc()))
        #expect(try !quiesces(.bind, Bind()))
        #expect(try !quiesces(.iovaRanges, IOVARanges(ioasID: one)))
        #expect(try !quiesces(.compatIOAS, CompatIOAS(.get)))
        // Before the fields are judged.
        try session.attach(one)
        session.device.events = []
        #expect(try session.error(of: .ioasMap, map(one)) == nil)
        #expect(try session.call(.ioasUnmap, [1]).error == .invalidArgument)
        #expect(try session.call(.ioasMap, [UInt8](repeating: 0, count: 11)).error == .invalidArgument)
        #expect(session.device.takeEvents() == [.quiesce, .added(0x4000, 4096), .quiesce])
    }

    /// A device that takes its time: the request waits, and those behind it.
    @Test func quiescingLater() throws {
        let session = try IOASSession(features: .all)
        let file = try IOASFile(size: 4096)
        let id = try session.allocate()
        try session.map(id, file, at: 0x1000)
        session.device.quiesceState = .pending
        try session.send(.attachPT, encoded(ioas: AttachPT(ioasID: id)))
        let map = VFIOUserWire.IOASMap(
            ioasID: id, flags: [.readable, .fixedIOVA], length: 4096, iova: 0x2000)
        try session.send(.ioasMap, encoded(ioas: map), [file.number])
        #expect(errno(ioas: { _ = try session.server.poll() }) == .resourceBusy)
        #expect(session.isSilent && !session.sees(0x1000))
        try session.server.quiesced()
        #expect(try session.receive().error == nil)
        #expect(try session.receive().error == nil)
        #expect(session.sees(0x1000) && session.sees(0x2000))
        #expect(
            session.device.takeEvents() == [
                .quiesce, .attached(id), .added(0x1000, 4096), .added(0x2000, 4096),
            ])
        // A device that cannot.
        try session.send(.detachPT, encoded(ioas: DetachPT()))
        #expect(errno(ioas: { _ = try session.server.poll() }) == .resourceBusy)
        try session.server.quiesced(error: .ioError)
        #expect(try session.receive().error == .ioError)
        #expect(session.sees(0x1000))
    }

    /// Address spaces, mappings and attachment survive DEVICE_RESET.
    @Test func reset() throws {
        let session = try IOASSession(features: .all)
        let id = try session.allocate()
        try session.map(id, try IOASFile(size: 4096), at: 0x1000)
        try session.attach(id)
        session.device.events = []
        #expect(try session.call(.deviceReset, []).error == nil)
        #expect(session.device.takeEvents() == [.quiesce, .reset(.device)])
        #expect(session.sees(0x1000) && session.server.attachedIOAS == id)
    }

    /// The client goes: the device is told of what it saw.
    @Test func disconnect() throws {
        let session = try IOASSession(features: .all)
        let (one, _, file) = try descending(session)
        try session.attach(one)
        session.device.events = []
        session.leave()
        #expect(errno(ioas: { _ = try session.server.poll() }) == .socketNotConnected)
        #expect(
            session.device.takeEvents() == [
                .quiesce, .removed(0x1000, 4096), .removed(0x2000, 4096), .removed(0x3000, 4096),
                .attached(nil), .reset(.lostConnection),
            ])
        #expect(file.mappings().isEmpty && file.descriptorCount() == 1)
        #expect(session.server.attachedIOAS == nil)
    }

    enum Step: CaseIterable { case attach, replace, detach, unmapOne, unmapAll, unmapRange, map, copy, close }

    /// The client goes, and the device finds out in the middle of being told of something: of every
    /// mapping that it was told of it hears the end once, and of no other.
    @Test(arguments: Step.allCases, 0..<6)
    func deviceFindsTheClientGone(_ step: Step, _ moment: Int) throws {
        let session = try IOASSession(features: .all)
        let (one, two, file) = try descending(session)
        try session.map(one, nil, at: 0x10_0000)
        try session.map(two, nil, at: 0x10_0000)
        if step != .attach { try session.attach(one) }
        let device = session.device
        var countdown = moment
        func told(_ server: DeviceServer) {
            countdown -= 1
            guard countdown == -1 else { return }
            session.leave()
            // Reading by message is how a device finds out.
            _ = try? server.peek(0x10_0000, 1)
        }
        defer { device.forgetHooks() }
        device.whenAdded = { told($1) }
        device.whenRemoved = { told($1) }
        device.whenAttached = { told($1) }
        let payload: ([UInt8], Command, [CInt])
        switch step {
        case .attach: payload = (encoded(ioas: AttachPT(ioasID: one)), .attachPT, [])
        case .replace: payload = (encoded(ioas: AttachPT(ioasID: two)), .attachPT, [])
        case .detach: payload = (encoded(ioas: DetachPT()), .detachPT, [])
        case .unmapOne:
            payload = (encoded(ioas: IOASUnmap(ioasID: one, iova: 0x1000, length: 4096)), .ioasUnmap, [])
        case .unmapAll:
            payload = (
                encoded(ioas: IOASUnmap(ioasID: one, flags: .all, iova: 0, length: 0)), .ioasUnmap, []
            )
        case .unmapRange:
            payload = (encoded(ioas: IOASUnmap(ioasID: one, iova: 0, length: 0x10000)), .ioasUnmap, [])
        case .map:
            let map = VFIOUserWire.IOASMap(ioasID: one, flags: .readable, length: 4096)
            payload = (encoded(ioas: map), .ioasMap, [file.number])
        case .copy:
            let copy = IOASCopy(
                sourceID: two, destinationID: one, flags: .readable, sourceIOVA: 0x8000, length: 4096)
            payload = (encoded(ioas: copy), .ioasCopy, [])
        case .close: payload = ([], .deviceGetInfo, [])
        }
        var known = try replay(device.takeEvents(), [])
        if step == .close { session.leave() } else { try session.send(payload.1, payload.0, payload.2) }
        _ = try? session.server.poll()
        if session.server.isAttached {
            // That many things did not happen; it goes now.
            session.leave()
            _ = try? session.server.poll()
        }
        let events = device.takeEvents()
        known = try replay(events, known)
        #expect(known.isEmpty)
        #expect(!session.server.isAttached && session.server.spaces.count == 0)
        #expect(events.filter { $0 == .reset(.lostConnection) }.count == 1)
        #expect(file.mappings().isEmpty && file.descriptorCount() == 1)
    }

    /// What the device knows after some events.
    private func replay(_ events: [IOASDevice.Event], _ known: Set<UInt64>) throws -> Set<UInt64> {
        var known = known
        for event in events {
            switch event {
            case .added(let iova, _): #expect(known.insert(iova).inserted)
            case .removed(let iova, _): #expect(known.remove(iova) != nil)
            default: break
            }
        }
        return known
    }
}
