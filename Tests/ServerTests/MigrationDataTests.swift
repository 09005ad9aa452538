import SystemPackage
import Testing
import VFIOUserWire

@testable import VFIOUserServer

/// MIG_DATA_READ and MIG_DATA_WRITE.
@Suite struct MigrationDataTests {
    /// A request to read; `argsz` fits if not given.
    private func read(
        _ client: MigrationClient, _ size: UInt32, argsz: UInt32? = nil, then extra: [UInt8] = []
    ) throws -> Received {
        var request = MigrationData(size: size)
        if let argsz { request.argsz = argsz }
        return try client.call(.migDataRead, payload(request, then: extra))
    }

    private func write(
        _ client: MigrationClient, _ size: UInt32, _ data: [UInt8], argsz: UInt32? = nil
    ) throws -> Received {
        var request = MigrationData(size: size)
        if let argsz { request.argsz = argsz }
        return try client.call(.migDataWrite, payload(request, then: data))
    }

    @Test(arguments: MigrationState.allCases)
    func statesThatAllowIt(_ state: MigrationState) throws {
        let device = RecordingDevice()
        device.image = [1, 2, 3, 4]
        let client = try MigrationClient(device)
        #expect(try client.setState(.init(state)).error == nil)
        let reply = try read(client, 4)
        if state == .preCopy || state == .stopCopy {
            #expect(reply.payload == payload(MigrationData(size: 4), then: [1, 2, 3, 4]))
        } else {
            #expect(reply.error == .invalidArgument)
            #expect(device.image.count == 4)
        }
        let answer = try write(client, 2, [8, 9])
        #expect(answer.error == (state == .resuming ? nil : .invalidArgument))
        #expect(answer.payload.isEmpty)
        #expect(device.calls.contains(.restore([8, 9])) == (state == .resuming))
    }

    @Test func nothingWithoutMigration() throws {
        let client = try MigrationClient(RecordingDevice(), migration: false)
        #expect(try read(client, 4).error == .invalidArgument)
        #expect(try write(client, 1, [1]).error == .invalidArgument)
    }

    /// The reply is as long as was asked for, with zeros behind what there was.
    @Test func lessThanAskedFor() throws {
        let device = RecordingDevice()
        device.image = [7, 8, 9]
        let client = try MigrationClient(device)
        #expect(try client.setState(.stopCopy).error == nil)
        // A reply with other content, for the memory not to be zero already.
        _ = try client.feature(.migration, .probe, then: [UInt8](repeating: 0xff, count: 2000))

        let reply = try read(client, 1000)
        #expect(try reply.decode(MigrationData.self) == MigrationData(size: 3))
        #expect(Array(reply.payload[8..<11]) == [7, 8, 9])
        #expect(reply.payload.count == 1008)
        #expect(reply.payload[11...].allSatisfy { $0 == 0 })

        // The end of the stream.
        let end = try read(client, 1000)
        #expect(try end.decode(MigrationData.self) == MigrationData(size: 0))
        #expect(end.payload.count == 1008)
        #expect(try read(client, 0).payload == payload(MigrationData(size: 0)))
        #expect(device.calls.suffix(3) == [.save(1000), .save(1000), .save(0)])
    }

    /// A longer request has a longer reply.
    @Test func extraBytes() throws {
        let device = RecordingDevice()
        device.image = [5]
        let client = try MigrationClient(device)
        #expect(try client.setState(.preCopy).error == nil)
        let reply = try read(client, 1, then: [1, 2, 3])
        #expect(reply.payload == payload(MigrationData(size: 1), then: [5, 0, 0, 0]))
        // Request and size together exceed a message.
        let long = try read(client, 1 << 20, then: [UInt8](repeating: 0, count: 1000))
        #expect(long.error == .invalidArgument)
        #expect(device.calls.last == .save(1))

        #expect(try client.setState(.resuming).error == nil)
        #expect(try write(client, 2, [1, 2, 3, 4]).error == nil)
        #expect(device.calls.last == .restore([1, 2]))
        #expect(try write(client, 0, []).error == nil)
        #expect(device.calls.last == .restore([]))
    }

    @Test func sizes() throws {
        let device = RecordingDevice()
        device.image = [UInt8](repeating: 1, count: 100)
        let client = try MigrationClient(device, maxTransfer: 4)
        #expect(try client.setState(.stopCopy).error == nil)
        #expect(try read(client, 4, argsz: 11).error == .invalidArgument)
        #expect(try read(client, 5).error == .invalidArgument)
        #expect(try read(client, .max).error == .invalidArgument)
        #expect(try read(client, .max, argsz: .max).error == .invalidArgument)
        #expect(try read(client, 0, argsz: 7).error == .invalidArgument)
        #expect(device.image.count == 100)
        #expect(try read(client, 4, argsz: .max).error == nil)

        #expect(try client.setState(.resuming).error == nil)
        _ = device.takeStates()
        #expect(try write(client, 4, [1, 2, 3]).error == .invalidArgument)
        #expect(try write(client, 4, [1, 2, 3, 4], argsz: 11).error == .invalidArgument)
        #expect(try write(client, 5, [1, 2, 3, 4, 5]).error == .invalidArgument)
        #expect(try write(client, .max, [1, 2, 3, 4], argsz: .max).error == .invalidArgument)
        #expect(device.calls.isEmpty)
        #expect(try write(client, 4, [1, 2, 3, 4]).error == nil)
    }

    @Test(arguments: [Command.migDataRead, .migDataWrite])
    func shortPayloads(_ command: Command) throws {
        let device = RecordingDevice()
        let client = try MigrationClient(device)
        #expect(try client.setState(command == .migDataRead ? .stopCopy : .resuming).error == nil)
        _ = device.takeStates()
        let whole = payload(MigrationData(size: 0))
        for count in 0..<8 {
            #expect(try client.call(command, Array(whole[..<count])).error == .invalidArgument)
        }
        #expect(device.calls.isEmpty)
        #expect(try client.call(command, whole).error == nil)
    }

    @Test func failures() throws {
        let device = RecordingDevice()
        let client = try MigrationClient(device)
        device.dataFailure = Errno(rawValue: 0xbeef)
        #expect(try client.setState(.stopCopy).error == nil)
        let reply = try read(client, 16)
        #expect(reply.error == Errno(rawValue: 0xbeef))
        #expect(reply.payload.isEmpty)
        #expect(try client.setState(.resuming).error == nil)
        #expect(try write(client, 1, [1]).error == Errno(rawValue: 0xbeef))
        #expect(client.server.lastRequestError == Errno(rawValue: 0xbeef))
    }

    /// The most that fits in one message, both ways.
    @Test func largest() throws {
        let device = BulkDevice()
        let client = try MigrationClient(device)
        #expect(try client.setState(.stopCopy).error == nil)
        let size = UInt32(Limits.maxTransferByteCount)
        let reply = try client.callAtLength(.migDataRead, payload(MigrationData(size: size)))
        #expect(try reply.decode(MigrationData.self) == MigrationData(size: size))
        #expect(reply.payload.count == 8 + Int(size))
        #expect(reply.payload[8...].allSatisfy { $0 == 0xa7 })

        #expect(try client.setState(.resuming).error == nil)
        let data = Array(reply.payload[8...])
        #expect(
            try client.callAtLength(.migDataWrite, payload(MigrationData(size: size), then: data)).error
                == nil)
        #expect(device.restored == Int(size))
    }

    /// Gives and takes as much as there is room for.
    private final class BulkDevice: MigratableDevice {
        var restored = 0

        func enter(_ state: MigrationState, on server: DeviceServer) throws(Errno) {}

        func saveState(into data: inout OutputRawSpan, on server: DeviceServer) throws(Errno) {
            while !data.isFull { data.append(0xa7) }
        }

        func restoreState(from data: RawSpan, on server: DeviceServer) throws(Errno) {
            restored += data.byteCount
        }
    }
}
