import SystemPackage
import Testing
import VFIOUserAddressSpace
import VFIOUserWire

@testable import VFIOUserServer

/// DEVICE_FEATURE: probing, getting, setting, and every size rule.
@Suite struct MigrationFeatureTests {
    static let features: [DeviceFeature.Feature] = [
        .migration, .migDeviceState, .dmaLoggingStart, .dmaLoggingStop, .dmaLoggingReport,
    ]
    static let supported: [(DeviceFeature.Feature, DeviceFeature.Flags)] = [
        (.migration, .get), (.migDeviceState, [.get, .set]), (.dmaLoggingStart, .set),
        (.dmaLoggingStop, .set), (.dmaLoggingReport, .get),
    ]

    @Test(arguments: features)
    func nothingWithoutMigration(_ feature: DeviceFeature.Feature) throws {
        let client = try MigrationClient(RecordingDevice(), migration: false)
        for operation: DeviceFeature.Flags in [.probe, .get, .set] {
            let reply = try client.feature(
                feature, operation, then: [UInt8](repeating: 0, count: 32), argsz: 4096)
            #expect(reply.error == .invalidArgument)
        }
    }

    @Test func devicesThatCannotMigrate() throws {
        final class Plain: Device {}
        let (near, far) = try File.socketPair()
        let server = try DeviceServer(
            Plain(), at: .connected(FileDescriptor(rawValue: dup(far))), waiting: .polling)
        #expect(throws: Errno.notSupported) { try server.enableMigration() }
        #expect(try MigrationClient(server, by: RawPeer(near)).version.migrationPageSize == nil)
    }

    @Test(arguments: supported)
    func probe(_ feature: DeviceFeature.Feature, _ operations: DeviceFeature.Flags) throws {
        let client = try MigrationClient(RecordingDevice())
        for combination: DeviceFeature.Flags in [[], .get, .set, [.get, .set]] {
            let extra: [UInt8] = [1, 2, 3]
            let reply = try client.feature(feature, [.probe, combination], then: extra)
            if operations.isSuperset(of: combination) {
                let head = DeviceFeature(DeviceFeature.Flags(feature, [.probe, combination]), argsz: 16)
                #expect(reply.error == nil)
                #expect(reply.payload == payload(head, then: extra))
            } else {
                #expect(reply.error == .invalidArgument)
            }
        }
        #expect(try client.state() == .running)
    }

    @Test(arguments: [
        DeviceFeature.Flags(.migDeviceState, []),
        DeviceFeature.Flags(.migDeviceState, [.get, .set]),
        DeviceFeature.Flags(rawValue: 2 | 1 << 16 | 1 << 19),
        DeviceFeature.Flags(rawValue: 2 | 1 << 18 | 1 << 31),
        DeviceFeature.Flags(.migration, .set),
        DeviceFeature.Flags(.dmaLoggingStart, .get),
        DeviceFeature.Flags(.dmaLoggingStop, .get),
        DeviceFeature.Flags(.dmaLoggingReport, .set),
        DeviceFeature.Flags(rawValue: 0 | 1 << 18),
        DeviceFeature.Flags(rawValue: 3 | 1 << 18),
        DeviceFeature.Flags(rawValue: 9 | 1 << 18),
        DeviceFeature.Flags(rawValue: 0xffff | 1 << 16),
        DeviceFeature.Flags(rawValue: 0xffff_ffff),
    ])
    func refusedFlags(_ flags: DeviceFeature.Flags) throws {
        let client = try MigrationClient(RecordingDevice())
        let body = payload(DeviceFeature(flags, argsz: 4096), then: [UInt8](repeating: 1, count: 64))
        #expect(try client.call(.deviceFeature, body).error == .invalidArgument)
        #expect(try client.state() == .running)
    }

    /// Every payload too short for what it asks, byte by byte.
    @Test(arguments: [
        (DeviceFeature.Flags(.migration, .get), 8),
        (DeviceFeature.Flags(.migDeviceState, .get), 8),
        (DeviceFeature.Flags(.migDeviceState, .set), 16),
        (DeviceFeature.Flags(.dmaLoggingStart, .set), 24),
        (DeviceFeature.Flags(.dmaLoggingStop, .set), 8),
        (DeviceFeature.Flags(.dmaLoggingReport, .get), 32),
    ])
    func shortPayloads(_ flags: DeviceFeature.Flags, _ needed: Int) throws {
        let device = RecordingDevice()
        let client = try MigrationClient(device)
        let whole = payload(
            DeviceFeature(flags, argsz: 4096), DMALoggingReport(iova: 1, length: 4096, pageSize: 4096))
        for count in 1..<needed {
            let reply = try client.call(.deviceFeature, Array(whole[..<count]))
            #expect(reply.error == .invalidArgument, "\(count) bytes")
            #expect(reply.payload.isEmpty)
        }
        #expect(device.takeStates().isEmpty)
        #expect(client.server.translator.isLogging == false)
    }

    @Test func getMigration() throws {
        let client = try MigrationClient(RecordingDevice())
        for argsz: UInt32 in [0, 7, 8, 15] {
            #expect(try client.feature(.migration, .get, argsz: argsz).error == .invalidArgument)
        }
        let reply = try client.feature(.migration, .get, argsz: 100)
        #expect(try reply.decode(DeviceFeature.self) == DeviceFeature(.init(.migration, .get), argsz: 16))
        #expect(try reply.decode(MigrationSupport.self, at: 8).flags == [.stopCopy, .preCopy])
        #expect(reply.payload.count == 16)
    }

    @Test func getState() throws {
        let client = try MigrationClient(RecordingDevice())
        #expect(try client.feature(.migDeviceState, .get, argsz: 15).error == .invalidArgument)
        let reply = try client.feature(.migDeviceState, .get)
        #expect(
            reply.payload
                == payload(
                    DeviceFeature(.init(.migDeviceState, .get), argsz: 16), MigrationDeviceState(.running)))
    }

    /// Setting has to have room for the whole request, which is the reply.
    @Test func setStateArgsz() throws {
        let device = RecordingDevice()
        let client = try MigrationClient(device)
        let body = payload(MigrationDeviceState(.stop))
        #expect(try client.feature(.migDeviceState, .set, then: body, argsz: 15).error == .invalidArgument)
        #expect(
            try client.feature(.migDeviceState, .set, then: body + [9], argsz: 16).error == .invalidArgument)
        #expect(device.takeStates().isEmpty)
        let reply = try client.feature(.migDeviceState, .set, then: body + [9], argsz: 17)
        #expect(reply.error == nil)
        #expect(reply.payload.suffix(9) == body + [9])
        #expect(device.takeStates() == [.stop])
    }

    /// Through the socket: the device enters the states of the table.
    @Test(arguments: MigrationStateTests.ways)
    func way(_ from: MigrationState, _ to: MigrationState, _ expected: [MigrationState]?) throws {
        let device = RecordingDevice()
        let client = try MigrationClient(device)
        #expect(try client.setState(.init(from)).error == nil)
        _ = device.takeStates()
        let reply = try client.setState(.init(to))
        #expect(reply.error == (expected == nil ? .invalidArgument : nil))
        #expect(device.takeStates() == expected ?? [])
        #expect(try client.state() == MigrationDeviceState.State(expected == nil ? from : to))
    }

    @Test(arguments: [0, 5, 7, 8, 0xabcd, UInt32.max])
    func noSuchState(_ number: UInt32) throws {
        let device = RecordingDevice()
        let client = try MigrationClient(device)
        var state = MigrationDeviceState(.stop)
        state.deviceState = number
        for start: MigrationDeviceState.State in [.running, .stopCopy] {
            #expect(try client.setState(start).error == nil)
            _ = device.takeStates()
            #expect(
                try client.feature(.migDeviceState, .set, then: payload(state)).error == .invalidArgument)
            #expect(device.takeStates().isEmpty)
            #expect(try client.state() == start)
        }
    }

    @Test func failureHalfWay() throws {
        let device = RecordingDevice()
        let client = try MigrationClient(device)
        device.failures = [.stopCopy: Errno(rawValue: 0xbeef)]
        #expect(try client.setState(.stopCopy).error == Errno(rawValue: 0xbeef))
        #expect(client.server.lastRequestError == Errno(rawValue: 0xbeef))
        #expect(device.takeStates() == [.stop, .stopCopy])
        #expect(try client.state() == .stop)
    }

    /// C callbacks that fail and set no errno stop the way, and the request succeeds.
    @Test func failureWithoutError() throws {
        let device = RecordingDevice()
        let client = try MigrationClient(device)
        device.failures = [.stop: Errno(rawValue: 0)]
        let reply = try client.setState(.stopCopy)
        #expect(reply.error == nil)
        #expect(reply.payload.count == 16)
        #expect(device.takeStates() == [.stop])
        #expect(try client.state() == .running)
    }

    @Test func enablingAgainMeansRunning() throws {
        let device = RecordingDevice()
        let client = try MigrationClient(device)
        #expect(try client.setState(.stop).error == nil)
        try client.server.enableMigration()
        #expect(client.server.migrationState == .running)
        #expect(try client.state() == .running)
    }

    @Test func enablingWhileAClientIsThere() throws {
        let client = try MigrationClient(RecordingDevice(), migration: false)
        #expect(try client.setState(.stop).error == .invalidArgument)
        try client.server.enableMigration()
        #expect(try client.setState(.stop).error == nil)
    }

    @Test func negotiation() throws {
        let client = try MigrationClient(RecordingDevice())
        #expect(client.version.migrationPageSize == 4096)
        let without = try MigrationClient(RecordingDevice(), migration: false)
        #expect(without.version.migrationPageSize == nil)

        let (near, far) = try File.socketPair()
        let server = try DeviceServer(
            RecordingDevice(), at: .connected(FileDescriptor(rawValue: dup(far))), waiting: .polling)
        try server.enableMigration()
        var offered = ClientCapabilities()
        offered.migrationPageSize = 8192
        #expect(throws: Errno.invalidArgument) { try MigrationClient(server, by: RawPeer(near), offered) }
    }
}
