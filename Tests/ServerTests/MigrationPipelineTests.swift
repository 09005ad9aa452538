import Glibc
import SystemPackage
import Testing
import VFIOUserSystem
import VFIOUserWire

@testable import VFIOUserServer

/// What migration states do to other commands, and quiescing.
@Suite struct MigrationPipelineTests {
    /// A request of each command that succeeds in RUNNING.
    static func requests() -> [(Command, [UInt8])] {
        let access = RegionAccess(offset: 0, region: 0, count: 4)
        return [
            (.dmaMap, payload(DMAMap(flags: [.read], offset: 0, address: 0x1000, size: 0x1000))),
            (.dmaUnmap, payload(DMAUnmap.everything)),
            (.deviceGetInfo, payload(DeviceInfo(flags: [], regionCount: 0, irqTypeCount: 0))),
            (.deviceGetRegionInfo, payload(RegionInfo(index: 0, flags: [], size: 0, offset: 0))),
            (.deviceGetRegionIOFDs, payload(RegionIOFDs(index: 0, argsz: 4096))),
            (.deviceGetIRQInfo, payload(IRQInfo(index: 0, flags: [], count: 0))),
            (.deviceSetIRQs, payload(SetIRQs(flags: [.dataNone, .trigger], index: 4, start: 0, count: 0))),
            (.deviceReset, []),
            (.regionRead, payload(access)),
            (.regionWrite, payload(access, then: [1, 2, 3, 4])),
            (.deviceFeature, payload(DeviceFeature(.init(.migDeviceState, .get), argsz: 16))),
        ]
    }

    @Test(arguments: MigrationState.allCases)
    func commands(_ state: MigrationState) throws {
        let device = RecordingDevice()
        let client = try MigrationClient(device)
        #expect(try client.setState(.init(state)).error == nil)
        for (command, body) in Self.requests() {
            let allowed: Bool
            switch (state, command) {
            case (.stop, .regionRead), (.stop, .regionWrite): allowed = true
            case (.stop, .deviceFeature), (.stopCopy, .deviceFeature): allowed = true
            case (.stop, _), (.stopCopy, _): allowed = false
            default: allowed = true
            }
            device.calls = []
            let reply = try client.call(command, body)
            #expect(reply.error == (allowed ? nil : .invalidArgument), "\(command)")
            if !allowed { #expect(device.calls.isEmpty, "\(command)") }
        }
    }

    /// Small posted writes are like writes that come alone.
    @Test func multipleWrites() throws {
        let (near, far) = try File.socketPair()
        let device = RecordingDevice()
        let server = try DeviceServer(
            device, at: .connected(FileDescriptor(rawValue: dup(far))), waiting: .polling)
        try server.setRegion(.bar0, Region(size: 4096, flags: [.readWrite, .memory]))
        try server.enableMigration()
        var offered = ClientCapabilities()
        offered.writeMultiple = true
        let client = try MigrationClient(server, by: RawPeer(near), offered)
        let batch = payload(RegionWriteMulti(count: 1), then: [UInt8](repeating: 0, count: 24))
        #expect(try client.setState(.stop).error == nil)
        #expect(try client.call(.regionWriteMulti, batch).error == nil)
        #expect(try client.setState(.stopCopy).error == nil)
        device.calls = []
        #expect(try client.call(.regionWriteMulti, batch).error == .invalidArgument)
        #expect(device.calls.isEmpty)
    }

    /// The state is neither a reset's business nor another client's.
    @Test func stateSurvives() throws {
        let device = RecordingDevice()
        let path = "/tmp/vfio-user-test-migration-\(getpid()).sock"
        let server = try DeviceServer(device, at: .path(path), waiting: .polling)
        defer { server.close() }
        try server.enableMigration()
        var client = try MigrationClient(server, by: RawPeer(connectingTo: path))
        #expect(try client.setState(.preCopy).error == nil)
        #expect(try client.call(.deviceReset).error == nil)
        #expect(try client.state() == .preCopy)
        client.leave()
        #expect(throws: Errno.socketNotConnected) { try server.poll() }
        #expect(device.calls.last == .reset(.lostConnection))
        client = try MigrationClient(server, by: RawPeer(connectingTo: path))
        #expect(try client.state() == .preCopy)
        #expect(try client.setState(.stopCopy).error == nil)
        client.leave()
        #expect(throws: Errno.socketNotConnected) { try server.poll() }
        client = try MigrationClient(server, by: RawPeer(connectingTo: path))
        #expect(try client.state() == .stopCopy)
        client.leave()
    }

    // MARK: Quiescing

    /// Operations, feature number, whether the device is quiesced; some requests fail afterwards.
    static let quiescing: [(DeviceFeature.Flags, UInt16, Bool)] = [
        (.get, 1, false), (.get, 2, true), (.get, 3, true), (.get, 4, false), (.get, 6, true),
        (.get, 7, true), (.get, 8, false), (.get, 10, true),
        (.set, 1, true), (.set, 2, true), (.set, 4, true), (.set, 6, true), (.set, 7, true),
        (.set, 8, true),
        ([], 1, false), ([], 2, true), ([.get, .set], 1, true),
        (.probe, 2, false), ([.probe, .set], 2, false), ([.probe, .get], 6, false),
    ]

    @Test(arguments: quiescing)
    func quiesced(_ operations: DeviceFeature.Flags, _ feature: UInt16, _ expected: Bool) throws {
        let device = RecordingDevice()
        let client = try MigrationClient(device)
        // An argsz that no operation accepts: quiescing comes first.
        let flags = DeviceFeature.Flags(rawValue: UInt32(feature) | operations.rawValue)
        let body = payload(DeviceFeature(flags, argsz: 0))
        #expect(try client.call(.deviceFeature, body).error == .invalidArgument)
        #expect(device.calls == (expected ? [.quiesce] : []))
        device.calls = []
        #expect(try client.call(.deviceFeature, Array(body[..<7])).error == .invalidArgument)
        #expect(device.calls.isEmpty)
    }

    @Test func dataIsNotQuiesced() throws {
        let device = RecordingDevice()
        let client = try MigrationClient(device)
        #expect(try client.setState(.stopCopy).error == nil)
        device.calls = []
        #expect(try client.call(.migDataRead, payload(MigrationData(size: 1))).error == nil)
        #expect(device.calls == [.save(1)])
    }

    @Test func laterQuiesced() throws {
        let device = RecordingDevice()
        let client = try MigrationClient(device)
        device.quiesceAnswer = .pending
        let body = payload(
            DeviceFeature(.init(.migDeviceState, .set), argsz: 16), MigrationDeviceState(.stopCopy))
        try client.peer.request(.deviceFeature, body)
        #expect(throws: Errno.resourceBusy) { try client.server.poll() }
        #expect(throws: Errno.resourceBusy) { try client.server.poll() }
        #expect(client.peer.isQuiet)
        #expect(device.takeStates().isEmpty)
        try client.server.quiesced()
        #expect(try client.peer.receive().error == nil)
        #expect(device.takeStates() == [.stop, .stopCopy])

        try client.peer.request(
            .deviceFeature,
            payload(
                DeviceFeature(.init(.migDeviceState, .set), argsz: 16), MigrationDeviceState(.running)))
        #expect(throws: Errno.resourceBusy) { try client.server.poll() }
        try client.server.quiesced(error: .permissionDenied)
        #expect(try client.peer.receive().error == .permissionDenied)
        #expect(client.server.migrationState == .stopCopy)
    }

    /// The client leaves while its request takes effect.
    @Test func clientLeavesInTheMiddle() throws {
        final class Leaver: MigratableDevice {
            var leave: () -> Void = {}
            func enter(_ state: MigrationState, on server: DeviceServer) throws(Errno) { leave() }
            func saveState(into data: inout OutputRawSpan, on server: DeviceServer) throws(Errno) {}
            func restoreState(from data: RawSpan, on server: DeviceServer) throws(Errno) {}
        }
        let device = Leaver()
        let client = try MigrationClient(device)
        device.leave = { client.leave() }
        // It holds what holds the device.
        defer { device.leave = {} }
        try client.peer.request(
            .deviceFeature,
            payload(
                DeviceFeature(.init(.migDeviceState, .set), argsz: 16), MigrationDeviceState(.stopCopy)))
        _ = try client.server.poll()
        #expect(client.server.migrationState == .stopCopy)
        #expect(client.server.isAttached == false)
        #expect(throws: Errno.socketNotConnected) { try client.server.poll() }
    }
}
