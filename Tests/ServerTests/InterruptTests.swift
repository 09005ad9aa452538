import Glibc
import SystemPackage
import Testing
import VFIOUserWire

@testable import VFIOUserServer

/// DEVICE_SET_IRQS and triggering.
@Suite struct InterruptTests {
    /// A request about MSI-X.
    static func request(
        _ flags: SetIRQs.Flags, _ start: UInt32, _ count: UInt32, _ data: [UInt8] = []
    ) -> [UInt8] {
        request(flags, .msix, start, count, data)
    }

    static func request(
        _ flags: SetIRQs.Flags, _ kind: InterruptKind, _ start: UInt32, _ count: UInt32,
        _ data: [UInt8] = []
    ) -> [UInt8] {
        encoded(SetIRQs(flags: flags, index: kind.rawValue, start: start, count: count)) + data
    }

    static let enable: SetIRQs.Flags = [.dataEventFD, .trigger]

    @Test func eventFDs() throws {
        let session = try Session()
        let files = try (0..<8).map { _ in try File.event() }
        #expect(throws: Errno.noSuchFileOrDirectory) { try session.server.triggerInterrupt(0) }
        #expect(throws: Errno.invalidArgument) { try session.server.triggerInterrupt(8) }
        try session.succeed(.deviceSetIRQs, Self.request(Self.enable, 2, 3), Array(files[2..<5]))
        for vector in 0..<8 as Range<UInt32> {
            if (2..<5).contains(vector) {
                try session.server.triggerInterrupt(vector)
            } else {
                #expect(throws: Errno.noSuchFileOrDirectory) { try session.server.triggerInterrupt(vector) }
            }
        }
        #expect(files.map { $0.events() } == [0, 0, 1, 1, 1, 0, 0, 0])

        // By the client's own request: all, or those with a 1; vectors without eventfd are passed over.
        try session.succeed(.deviceSetIRQs, Self.request([.dataNone, .trigger], 0, 8))
        #expect(files.map { $0.events() } == [0, 0, 1, 1, 1, 0, 0, 0])
        try session.succeed(
            .deviceSetIRQs, Self.request([.dataBool, .trigger], 1, 4, [1, 0, 1, 2]))
        #expect(files.map { $0.events() } == [0, 0, 0, 1, 0, 0, 0, 0])

        // Others take the place of some; the rest stays.
        try session.succeed(.deviceSetIRQs, Self.request(Self.enable, 4, 2), Array(files[6..<8]))
        try session.server.triggerInterrupt(4)
        try session.server.triggerInterrupt(3)
        #expect(files.map { $0.events() } == [0, 0, 0, 1, 0, 0, 1, 0])

        // A range is disabled without descriptors, everything by count 0.
        try session.succeed(.deviceSetIRQs, Self.request(Self.enable, 3, 2))
        #expect(throws: Errno.noSuchFileOrDirectory) { try session.server.triggerInterrupt(3) }
        #expect(throws: Errno.noSuchFileOrDirectory) { try session.server.triggerInterrupt(4) }
        try session.server.triggerInterrupt(2)
        try session.server.triggerInterrupt(5)
        #expect(files.map { $0.events() } == [0, 0, 1, 0, 0, 0, 0, 1])
        try session.succeed(.deviceSetIRQs, Self.request([.dataNone, .trigger], 0, 0))
        #expect(throws: Errno.noSuchFileOrDirectory) { try session.server.triggerInterrupt(2) }
        #expect(session.device.events.isEmpty)
    }

    /// A signal is taken back once, if the client has not taken it, and never waited for.
    @Test func withdrawal() throws {
        let session = try Session()
        #expect(!session.server.withdrawInterrupt(0))
        #expect(!session.server.withdrawInterrupt(.max))
        let file = try File.event()
        // Blocking, which the client can make it.
        #expect(fcntl(file.number, F_SETFL, 0) == 0)
        try session.succeed(.deviceSetIRQs, Self.request(Self.enable, .intx, 0, 1), [file])
        #expect(!session.server.withdrawInterrupt(0))
        try session.server.triggerInterrupt(0)
        try session.server.triggerInterrupt(0)
        #expect(session.server.withdrawInterrupt(0))
        #expect(!session.server.withdrawInterrupt(0))
        #expect(fcntl(file.number, F_SETFL, O_NONBLOCK) == 0)
        #expect(file.events() == 0)
    }

    /// INTx, MSI and MSI-X share vectors; error and request have their own.
    @Test func kinds() throws {
        let session = try Session()
        let files = try (0..<4).map { _ in try File.event() }
        for (kind, file) in zip([InterruptKind.intx, .error, .request], files) {
            try session.succeed(.deviceSetIRQs, Self.request(Self.enable, kind, 0, 1), [file])
        }
        try session.server.triggerInterrupt(0)
        try session.server.triggerInterrupt(.error)
        try session.server.triggerInterrupt(.request)
        #expect(throws: Errno.invalidArgument) { try session.server.triggerInterrupt(.error, vector: 1) }
        #expect(files.map { $0.events() } == [1, 1, 1, 0])
        try session.succeed(.deviceSetIRQs, Self.request(Self.enable, .msi, 0, 1), [files[3]])
        try session.server.triggerInterrupt(0)
        #expect(files.map { $0.events() } == [0, 0, 0, 1])
        try session.succeed(.deviceSetIRQs, Self.request([.dataNone, .trigger], .intx, 0, 0))
        #expect(throws: Errno.noSuchFileOrDirectory) { try session.server.triggerInterrupt(0) }
        try session.server.triggerInterrupt(.error)
        #expect(files.map { $0.events() } == [0, 1, 0, 0])
    }

    @Test func masks() throws {
        let session = try Session()
        let watch = try File.Watch()
        try session.succeed(.deviceSetIRQs, Self.request([.dataNone, .mask], 1, 3))
        try session.succeed(.deviceSetIRQs, Self.request([.dataBool, .unmask], .msi, 0, 2, [0, 0]))
        try session.succeed(.deviceSetIRQs, Self.request([.dataEventFD, .unmask], .intx, 0, 1), [.event()])
        #expect(
            session.device.events == [
                .masked(.msix, 1..<4, true), .masked(.msi, 0..<2, false), .masked(.intx, 0..<1, false),
            ])
        try session.fail(
            .invalidArgument, .deviceSetIRQs, Self.request([.dataEventFD, .mask], .intx, 0, 1),
            [watch.takeFile()])
        #expect(watch.isClosed)
    }

    @Test(
        arguments: [
            ("two actions", request([.dataNone, .trigger, .mask], 0, 1), 0),
            ("no action", request([.dataNone], 0, 1), 0),
            ("two kinds of data", request([.dataNone, .dataEventFD, .trigger], 0, 1), 0),
            ("no data", request([.trigger], 0, 1), 0),
            ("start behind the end", request(enable, 8, 1), 1),
            ("start far behind", request(enable, .max, 1), 1),
            ("too many", request(enable, 0, 9), 9),
            ("wraps", request(enable, 7, .max), 0),
            ("kind 5", encoded(SetIRQs(flags: enable, index: 5, start: 0, count: 1)), 1),
            ("kind 4294967295", encoded(SetIRQs(flags: enable, index: .max, start: 0, count: 1)), 1),
            ("mask of the error interrupt", request([.dataNone, .mask], .error, 0, 1), 0),
            ("two error interrupts", request(enable, .error, 0, 2), 2),
            ("second error interrupt", request(enable, .error, 1, 1), 1),
            ("count 0, start 1", request([.dataNone, .trigger], 1, 0), 0),
            ("count 0 with eventfds", request(enable, 0, 0), 0),
            ("count 0 to mask", request([.dataNone, .mask], 0, 0), 0),
            ("too few descriptors", request(enable, 0, 3), 2),
            ("too many descriptors", request(enable, 0, 3), 4),
            ("descriptors without eventfds", request([.dataNone, .trigger], 0, 1), 1),
            ("too few bytes", request([.dataBool, .trigger], 0, 3, [1, 1]), 0),
            ("too many bytes", request([.dataBool, .trigger], 0, 3, [1, 1, 1, 1]), 0),
            ("argsz", encoded(SetIRQs(flags: enable, index: 2, start: 0, count: 1, argsz: 19)), 1),
        ])
    func refused(name: String, request: [UInt8], files: Int) throws {
        let session = try Session()
        let before = try File.event()
        try session.succeed(.deviceSetIRQs, Self.request(Self.enable, 0, 1), [before])
        try session.fail(.invalidArgument, .deviceSetIRQs, request, (0..<files).map { _ in try .event() })
        try session.server.triggerInterrupt(0)
        #expect(before.events() == 1)
        #expect(throws: Errno.noSuchFileOrDirectory) { try session.server.triggerInterrupt(1) }
        #expect(session.device.events.isEmpty)
    }

    /// Flags without meaning, and more bytes than needed.
    @Test func ignored() throws {
        let session = try Session()
        let file = try File.event()
        let flags = SetIRQs.Flags(rawValue: 0xffff_ffc0 | 0x24)
        try session.succeed(.deviceSetIRQs, Self.request(flags, 0, 1, [1, 2, 3, 4, 5]), [file])
        try session.server.triggerInterrupt(0)
        #expect(file.events() == 1)
    }

    /// What a pipe or a socket without other end does to a writer.
    @Test func pipesAndSockets() throws {
        let session = try Session()
        do {
            let (_, writing) = try File.pipe()
            try session.fail(.invalidArgument, .deviceSetIRQs, Self.request(Self.enable, 0, 1), [writing])
        }
        do {
            let (_, other) = try File.socketPair()
            try session.fail(.invalidArgument, .deviceSetIRQs, Self.request(Self.enable, 0, 1), [other])
        }
        try session.succeed(.deviceSetIRQs, Self.request([.dataNone, .trigger], 0, 1))
    }

    /// What writing an eventfd gives is what the request gets.
    @Test func failedTriggers() throws {
        let session = try Session()
        let full = try File.event()
        var count = UInt64.max - 1
        // Eight bytes, as an eventfd wants.
        _ = unsafe write(full.number, &count, 8)
        let unwritable = File(adopting: unsafe open("/proc/self/stat", O_RDONLY | O_CLOEXEC))
        try session.succeed(.deviceSetIRQs, Self.request(Self.enable, 0, 2), [full, unwritable])
        try session.fail(
            .resourceTemporarilyUnavailable, .deviceSetIRQs, Self.request([.dataNone, .trigger], 0, 1))
        try session.fail(.badFileDescriptor, .deviceSetIRQs, Self.request([.dataNone, .trigger], 1, 1))
        #expect(throws: Errno.badFileDescriptor) { try session.server.triggerInterrupt(1) }
    }

    /// Eventfds go with their client, and with others in their place.
    @Test func closed() throws {
        let session = try Session()
        let one = try File.event()
        try session.succeed(.deviceSetIRQs, Self.request(Self.enable, 0, 1), [one])
        session.peer.close()
        session.expectDisconnect()
        #expect(throws: Errno.noSuchFileOrDirectory) { try session.server.triggerInterrupt(0) }
    }

    @Test func countsAfterRealize() throws {
        let session = try Session()
        try session.server.setInterruptCount(.msi, 8)
        try session.server.setInterruptCount(.msix, 2)
        #expect(throws: Errno.invalidArgument) { try session.server.setInterruptCount(.msi, 9) }
        try session.fail(.invalidArgument, .deviceSetIRQs, Self.request(Self.enable, 2, 1), [.event()])
        try session.succeed(.deviceSetIRQs, Self.request(Self.enable, .msi, 7, 1), [.event()])
    }
}
