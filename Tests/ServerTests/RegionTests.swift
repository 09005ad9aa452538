import SystemPackage
import Testing
import VFIOUserWire

@testable import VFIOUserServer

/// REGION_READ, REGION_WRITE, REGION_WRITE_MULTI.
@Suite struct RegionTests {
    static func access(_ region: UInt32, _ offset: UInt64, _ count: UInt32) -> [UInt8] {
        bytes(offset, region, count)
    }

    @Test func reachesTheDevice() throws {
        let session = try Session()
        try session.writeRegion(.bar0, 4094, [1, 2])
        #expect(try session.readRegion(.bar0, 4092, 4) == [0, 0, 1, 2])
        try session.writeRegion(.bar2, (2 << 20) - 1, [7])
        #expect(
            session.device.events == [
                .write(.bar0, 4094, [1, 2]), .read(.bar0, 4092, 4), .write(.bar2, (2 << 20) - 1, [7]),
            ])
    }

    /// Nothing is done, and nothing is in the reply.
    @Test(arguments: [0, 1, 4096] as [UInt64])
    func nothing(offset: UInt64) throws {
        let session = try Session()
        #expect(try session.succeed(.regionRead, Self.access(0, offset, 0)).isEmpty)
        #expect(try session.succeed(.regionWrite, Self.access(0, offset, 0)).isEmpty)
        // Also where there is no region.
        if offset == 0 { #expect(try session.succeed(.regionRead, Self.access(5, 0, 0)).isEmpty) }
        #expect(session.device.events.isEmpty)
    }

    @Test(
        arguments: [
            (0, 4096, 1), (0, 4095, 2), (0, 0, 4097), (0, 4097, 0), (0, .max, 1), (0, .max, 0),
            (0, 1 << 63, 4),
            (0, UInt64.max - 3, 8), (5, 0, 1), (6, 0, 4), (8, 0, 4), (9, 0, 4), (9, 0, 0), (.max, 0, 1),
            (2, 0, (1 << 20) + 1), (2, 0, .max), (7, 4096, 1), (7, 4095, 2), (7, .max, 4),
        ] as [(UInt32, UInt64, UInt32)])
    func outside(region: UInt32, offset: UInt64, count: UInt32) throws {
        let session = try Session()
        try session.fail(.invalidArgument, .regionRead, Self.access(region, offset, count))
        let data = [UInt8](repeating: 1, count: Int(min(count, 5000)))
        try session.fail(.invalidArgument, .regionWrite, Self.access(region, offset, count) + data)
        #expect(session.device.events.isEmpty)
    }

    @Test func writeOfAnotherLength() throws {
        let session = try Session()
        for data in [[], [1], [1, 2, 3], [1, 2, 3, 4, 5]] as [[UInt8]] {
            try session.fail(.invalidArgument, .regionWrite, Self.access(0, 0, 4) + data)
        }
        // More payload than a read needs does not matter.
        try session.succeed(.regionRead, Self.access(0, 0, 4) + [1, 2, 3])
        #expect(session.device.events == [.read(.bar0, 0, 4)])
    }

    @Test func deviceErrors() throws {
        let session = try Session()
        session.device.accessErrors = [.ioError, .permissionDenied]
        try session.fail(.ioError, .regionRead, Self.access(0, 0, 4))
        #expect(session.server.lastRequestError == .ioError)
        try session.fail(.permissionDenied, .regionWrite, Self.access(0, 0, 1) + [1])
        try session.succeed(.regionRead, Self.access(0, 0, 4))
    }

    /// Nobody handles it: only configuration space can do without the device.
    @Test func withoutHandler() throws {
        let session = try Session { server in
            try server.setRegion(.rom, Region(size: 64, flags: .read, isHandled: false))
        }
        try session.fail(.invalidArgument, .regionRead, Self.access(6, 0, 4))
        try session.fail(.invalidArgument, .regionWrite, Self.access(6, 0, 1) + [1])
        #expect(session.device.events.isEmpty)
    }

    /// Flags are told, not enforced; every region works.
    @Test func otherRegions() throws {
        let session = try Session { server in
            try server.setRegion(.rom, Region(size: 100, flags: .read))
            try server.setRegion(.vga, Region(size: 7, flags: .write))
            try server.setRegion(.bar4, Region(size: 1 << 40, flags: [.readWrite, .memory, .bits64]))
        }
        try session.succeed(.regionWrite, Self.access(6, 98, 2) + [1, 2])
        try session.succeed(.regionRead, Self.access(8, 0, 7))
        session.device.accessErrors = [.noSpace]
        try session.fail(.noSpace, .regionRead, Self.access(4, (1 << 40) - 8, 8))
        #expect(
            session.device.events == [
                .write(.rom, 98, [1, 2]), .read(.vga, 0, 7), .read(.bar4, (1 << 40) - 8, 8),
            ])
    }

    // MARK: Configuration space

    @Test func configurationSpace() throws {
        let session = try Session()
        #expect(try session.readRegion(.configuration, 0, 4) == [0xf4, 0x1a, 0x10, 0x11])
        let whole = try session.readRegion(.configuration, 0, 4096)
        #expect(whole.count == 4096 && whole[0x34] == UInt8(TestDevice.expressOffset))
        // An interrupt line is the client's.
        try session.writeRegion(.configuration, 0x3c, [0x0b])
        #expect(try session.readRegion(.configuration, 0x3c, 2) == [0x0b, 1])
        // The size of BAR0.
        try session.writeRegion(.configuration, 0x10, [0xff, 0xff, 0xff, 0xff])
        #expect(try session.readRegion(.configuration, 0x10, 4) == [0x00, 0xf0, 0xff, 0xff])
        #expect(session.device.events.isEmpty)
    }

    @Test func functionLevelReset() throws {
        let session = try Session()
        let control = TestDevice.deviceControl
        let old = try session.readRegion(.configuration, control, 2)
        try session.writeRegion(.configuration, control, [old[0], old[1] | 0x80])
        #expect(session.device.takeEvents() == [.quiesce, .reset(.functionLevel)])
        // Without the bit it only quiesces; elsewhere it does not even do that.
        try session.writeRegion(.configuration, control, old)
        #expect(session.device.takeEvents() == [.quiesce])
        try session.writeRegion(.configuration, control + 0x20, [0, 0])
        #expect(session.device.takeEvents().isEmpty)
        // A malformed write quiesces, too, and fails after that.
        try session.fail(.invalidArgument, .regionWrite, Self.access(7, control, 4))
        #expect(session.device.takeEvents() == [.quiesce])

        session.device.resetError = .ioError
        try session.fail(.ioError, .regionWrite, Self.access(7, control, 2) + [old[0], old[1] | 0x80])
        session.device.resetError = nil
        _ = session.device.takeEvents()

        session.device.quiesceAnswers = [.success(.pending)]
        try session.peer.request(.regionWrite, Self.access(7, control, 2) + [old[0], old[1] | 0x80])
        #expect(throws: Errno.resourceBusy) { try session.server.poll() }
        #expect(session.device.takeEvents() == [.quiesce])
        try session.server.quiesced()
        #expect(session.device.takeEvents() == [.reset(.functionLevel)])
        #expect(try session.peer.receive().error == nil)
    }

    /// The device may take all of configuration space upon itself.
    @Test func alwaysDevice() throws {
        let session = try Session { server in
            try server.setRegion(.configuration, Region(size: 0, flags: [.readWrite, .alwaysDevice]))
        }
        try session.writeRegion(.configuration, 0, [1, 2, 3, 4])
        #expect(try session.readRegion(.configuration, 1, 2) == [2, 3])
        #expect(
            session.device.events == [
                .write(.configuration, 0, [1, 2, 3, 4]), .read(.configuration, 1, 2),
            ])
    }

    // MARK: Batches

    static let multiple = #"{"capabilities":{"write_multiple":true}}"#

    static func batch(_ writes: [RegionWriteMulti.Write], count: Int? = nil) -> [UInt8] {
        bytes(UInt64(count ?? writes.count)) + writes.flatMap { encoded($0) }
    }

    static func write(_ offset: UInt64, _ count: UInt32, _ data: UInt64, region: UInt32 = 0)
        -> RegionWriteMulti.Write
    {
        var write = RegionWriteMulti.Write(offset: offset, region: region, count: min(count, 8), data: data)
        write.count = count
        return write
    }

    @Test func severalWrites() throws {
        let session = try Session(Self.multiple)
        let writes = [
            Self.write(0, 4, 0x0403_0201), Self.write(8, 8, .max), Self.write(100, 0, 5),
            Self.write(0x3c, 1, 0x0c, region: 7), Self.write(1, 2, 0xbeef, region: 1),
        ]
        #expect(try session.succeed(.regionWriteMulti, Self.batch(writes)) == bytes(UInt64(5)))
        #expect(
            session.device.events == [
                .write(.bar0, 0, [1, 2, 3, 4]), .write(.bar0, 8, [UInt8](repeating: 255, count: 8)),
                .write(.bar1, 1, [0xef, 0xbe]),
            ])
        #expect(try session.readRegion(.configuration, 0x3c, 1) == [0x0c])
        #expect(try session.succeed(.regionWriteMulti, Self.batch([])) == bytes(UInt64(0)))
    }

    @Test func refusedWithoutAgreement() throws {
        let session = try Session("{}")
        try session.fail(.invalidArgument, .regionWriteMulti, Self.batch([Self.write(0, 4, 1)]))
        #expect(session.device.events.isEmpty)
    }

    /// A batch whose bytes are not all there is not begun.
    @Test func malformedBatch() throws {
        let session = try Session(Self.multiple)
        let good = Self.write(0, 4, 1)
        for payload in [
            Self.batch([good], count: 2), Self.batch([good], count: .max), bytes(UInt64.max),
            bytes(UInt64(1) << 61) + encoded(good), Self.batch([good, Self.write(0, 9, 1)]),
            Self.batch([good, Self.write(0, .max, 1)]), Self.batch([good, good]).dropLast(),
        ] {
            try session.fail(.invalidArgument, .regionWriteMulti, Array(payload))
        }
        #expect(session.device.events.isEmpty)
    }

    @Test func batchThatFailsInTheMiddle() throws {
        let session = try Session(Self.multiple)
        let (good, bad) = (Self.write(0, 4, 1), Self.write(4096, 1, 1))
        #expect(
            try session.succeed(.regionWriteMulti, Self.batch([good, good, bad, good])) == bytes(UInt64(2)))
        #expect(session.device.takeEvents().count == 2)
        try session.fail(.invalidArgument, .regionWriteMulti, Self.batch([bad, good]))
        session.device.accessErrors = [.ioError]
        try session.fail(.ioError, .regionWriteMulti, Self.batch([good, good]))
    }

    /// A batch that may reset the function waits for the device as the write alone does.
    @Test func batchQuiesces() throws {
        let session = try Session(Self.multiple)
        let reset = Self.write(TestDevice.deviceControl, 2, 0x8000, region: 7)
        let good = Self.write(0, 4, 1)
        try session.succeed(.regionWriteMulti, Self.batch([good, reset]))
        #expect(
            session.device.takeEvents() == [
                .quiesce, .write(.bar0, 0, [1, 0, 0, 0]), .reset(.functionLevel),
            ])
        session.device.quiesceAnswers = [.success(.pending), .failure(.ioError)]
        try session.peer.request(.regionWriteMulti, Self.batch([good, reset]))
        #expect(throws: Errno.resourceBusy) { try session.server.poll() }
        #expect(session.device.takeEvents() == [.quiesce])
        try session.server.quiesced()
        #expect(try session.peer.receive().payload == bytes(UInt64(2)))
        _ = session.device.takeEvents()
        try session.peer.request(.regionWriteMulti, Self.batch([good, reset]))
        #expect(try session.server.poll() == 0)
        #expect(try session.peer.receive().error == .ioError)
        #expect(session.device.takeEvents() == [.quiesce])
    }
}
