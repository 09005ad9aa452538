import Glibc
import SystemPackage
import Testing
import VFIOUserWire

@testable import VFIOUserServer

/// DEVICE_GET_INFO, DEVICE_GET_REGION_INFO, DEVICE_GET_REGION_IO_FDS, DEVICE_GET_IRQ_INFO.
@Suite struct DeviceQueryTests {
    @Test func deviceInfo() throws {
        let session = try Session()
        let expected = bytes(UInt32(16), UInt32(3), UInt32(9), UInt32(5))
        #expect(try session.succeed(.deviceGetInfo, bytes(UInt32(16), 0 as UInt32, 0 as UInt64)) == expected)
        let more = bytes(UInt32(100), UInt32.max, UInt32.max, UInt32.max) + [1, 2, 3]
        #expect(try session.succeed(.deviceGetInfo, more) == expected)
        try session.fail(.invalidArgument, .deviceGetInfo, bytes(UInt32(15), 0 as UInt32, 0 as UInt64))
    }

    @Test func interruptInfo() throws {
        let session = try Session()
        for (index, count) in [1, 4, 8, 1, 1].enumerated() as EnumeratedSequence<[UInt32]> {
            let reply = try session.succeed(.deviceGetIRQInfo, encoded(IRQInfo(index: UInt32(index))))
            #expect(reply == bytes(UInt32(16), UInt32(1), UInt32(index), count))
        }
        for index in [5, 6, .max] as [UInt32] {
            try session.fail(.invalidArgument, .deviceGetIRQInfo, encoded(IRQInfo(index: index)))
        }
        try session.fail(.invalidArgument, .deviceGetIRQInfo, encoded(IRQInfo(index: 0, argsz: 15)))
    }

    // MARK: Regions

    static let areas = [Region.Area(offset: 0x1000, size: 0x1000), Region.Area(offset: 0x3000, size: 0x800)]

    static func sessionWithFiles() throws -> (Session, File) {
        let file = try File.memory(0x10000)
        let descriptor = FileDescriptor(rawValue: file.number)
        let session = try Session { server in
            try server.setRegion(
                .bar3,
                Region(
                    size: 0x4000, flags: [.readWrite, .memory], file: descriptor, fileOffset: 0x8000,
                    mappableAreas: areas))
            try server.setRegion(.bar5, Region(size: 0x2000, flags: [.read, .memory], file: descriptor))
            try server.setRegion(.rom, Region(size: 0, flags: .read, file: descriptor))
        }
        return (session, file)
    }

    func query(_ session: Session, _ index: UInt32, argsz: UInt32 = 32) throws -> (RegionInfoReply, Received)
    {
        let reply = try session.call(.deviceGetRegionInfo, encoded(RegionInfo(index: index, argsz: argsz)))
        var reader = Reader(reply.payload.span)
        return (try RegionInfoReply(decoding: &reader), reply)
    }

    @Test func plainRegions() throws {
        let session = try Session()
        let expected: [(RegionInfo.Flags, UInt64)] = [
            ([.read, .write], 4096), ([.read, .write], 256), ([.read, .write], 2 << 20), ([], 0), ([], 0),
            ([], 0), ([], 0), ([.read, .write], 4096), ([], 0),
        ]
        for (index, (flags, size)) in expected.enumerated() {
            let (answer, reply) = try query(session, UInt32(index), argsz: 4096)
            #expect(answer.info == RegionInfo(index: UInt32(index), flags: flags, size: size))
            #expect(reply.payload.count == 32 && reply.files.isEmpty)
        }
        for index in [9, 10, .max] as [UInt32] {
            try session.fail(.invalidArgument, .deviceGetRegionInfo, encoded(RegionInfo(index: index)))
        }
        try session.fail(.invalidArgument, .deviceGetRegionInfo, encoded(RegionInfo(index: 0, argsz: 31)))
    }

    /// Areas and the descriptor come only to a client with room for all of it.
    @Test func sparseAreas() throws {
        let (session, file) = try Self.sessionWithFiles()
        for argsz in [32, 33, 63, 79] as [UInt32] {
            let (answer, reply) = try query(session, 3, argsz: argsz)
            #expect(reply.payload.count == Int(argsz) && reply.files.isEmpty)
            #expect(answer.info.argsz == 80 && answer.info.flags == [.read, .write, .mmap])
            #expect(reply.payload.dropFirst(32).allSatisfy { $0 == 0 })
        }
        for argsz in [80, 81, 4064, .max] as [UInt32] {
            let (answer, reply) = try query(session, 3, argsz: argsz)
            #expect(reply.payload.count == 80)
            #expect(answer.info.flags == [.read, .write, .mmap, .caps])
            #expect(answer.info.size == 0x4000 && answer.info.offset == 0x8000)
            #expect(answer.areas.map(\.offset) == [0x1000, 0x3000])
            #expect(answer.areas.map(\.size) == [0x1000, 0x800])
            try #require(reply.files.count == 1)
            file.put([UInt8(truncatingIfNeeded: argsz)], at: 0x9000)
            #expect(reply.files[0].contents(at: 0x9000, count: 1) == [UInt8(truncatingIfNeeded: argsz)])
        }
    }

    /// A file without areas is one area; a region of size 0 has none.
    @Test func wholeRegion() throws {
        let (session, file) = try Self.sessionWithFiles()
        defer { withExtendedLifetime(file) {} }
        let (answer, reply) = try query(session, 5, argsz: 64)
        #expect(answer.areas == [MappableArea(offset: 0, size: 0x2000)] && reply.files.count == 1)
        #expect(answer.info.flags == [.read, .mmap, .caps])
        let (empty, none) = try query(session, 6, argsz: 64)
        #expect(empty.areas.isEmpty && none.files.isEmpty && none.payload.count == 32)
    }

    /// Replies with descriptors keep their place among others of a batch.
    @Test func descriptorsWithinBatch() throws {
        let (session, file) = try Self.sessionWithFiles()
        defer { withExtendedLifetime(file) {} }
        for index in [0, 3, 1, 5, 3, 2] as [UInt32] {
            try session.peer.request(.deviceGetRegionInfo, encoded(RegionInfo(index: index, argsz: 4096)))
        }
        #expect(try session.server.poll() == 6)
        for (index, count) in [(0, 0), (3, 1), (1, 0), (5, 1), (3, 1), (2, 0)] as [(UInt32, Int)] {
            let reply = try session.peer.receive()
            #expect(try decoded(RegionInfo.self, reply.payload).index == index)
            #expect(reply.files.count == count)
        }
    }

    /// A device's closed file is no reason to stop.
    @Test func closedFile() throws {
        let session = try Session { server in
            try server.setRegion(
                .bar3,
                Region(size: 0x1000, flags: [.readWrite, .memory], file: FileDescriptor(rawValue: 99_999)))
        }
        try session.peer.request(.deviceGetRegionInfo, encoded(RegionInfo(index: 3, argsz: 64)))
        #expect(throws: Errno.badFileDescriptor) { try session.server.poll() }
        #expect(session.peer.isQuiet)
        try session.succeed(.deviceGetInfo, encoded(DeviceInfo()))
    }

    // MARK: Eventfds of regions

    @Test func notifiers() throws {
        let (one, two, shadow) = (try File.event(), try File.event(), try File.memory(4096))
        let session = try Session { server in
            for (file, offset, size, memory) in [
                (one.number, 0, 4, -1), (two.number, 8, 8, -1), (one.number, 16, 0, -1), (-1, 24, 2, -1),
                (two.number, 32, 4, shadow.number),
            ] as [(CInt, UInt64, UInt32, CInt)] {
                try server.addIOEventFD(
                    IOEventFD(
                        file: file, offset: offset, size: size, flags: 5, match: offset + 1,
                        shadowFile: memory,
                        shadowOffset: 0x40), to: .bar0)
            }
            #expect(throws: Errno.invalidArgument) {
                try server.addIOEventFD(IOEventFD(file: -1, offset: 4093, size: 4), to: .bar0)
            }
            #expect(throws: Errno.invalidArgument) {
                try server.addIOEventFD(IOEventFD(file: -1, offset: .max, size: 4), to: .bar0)
            }
        }
        let whole = UInt32(RegionIOFDs.replyByteCount(count: 5))
        for argsz in [16, 17, whole - 1] {
            let reply = try session.call(.deviceGetRegionIOFDs, encoded(RegionIOFDs(index: 0, argsz: argsz)))
            #expect(reply.payload == bytes(whole, UInt32(0), UInt32(0), UInt32(5)) && reply.files.isEmpty)
        }
        let reply = try session.call(.deviceGetRegionIOFDs, encoded(RegionIOFDs(index: 0, argsz: whole)))
        #expect(reply.payload.count == Int(whole))
        #expect(Array(reply.payload.prefix(16)) == bytes(whole, UInt32(0), UInt32(0), UInt32(5)))
        // Newest first; equal descriptors once, numbered as they appear.
        let entries = try (0..<5).map {
            try decoded(SubRegion.self, Array(reply.payload.dropFirst(16 + 48 * $0)))
        }
        #expect(entries.map(\.offset) == [32, 24, 16, 8, 0])
        #expect(entries.map(\.size) == [4, 2, 0, 8, 4])
        #expect(entries.map(\.fdIndex) == [0, .max, 2, 0, 2])
        #expect(entries.map(\.kind) == [2, 0, 0, 0, 0])
        #expect(entries.map(\.flags) == [5, 5, 5, 5, 5])
        #expect(entries.map(\.shadowFDIndex) == [1, 0, 0, 0, 0])
        #expect(entries.map(\.shadowOffset) == [0x40, 0, 0, 0, 0])
        #expect(entries.map(\.dataMatch) == [33, 25, 17, 9, 1])
        try #require(reply.files.count == 3)
        var number: UInt64 = 1
        // Eight bytes, as an eventfd wants.
        _ = unsafe write(reply.files[2].number, &number, 8)
        #expect(one.events() == 1 && two.events() == 0)
    }

    /// Others in their place, for whoever asks next.
    @Test func notifiersAreReplaced() throws {
        let (one, two) = (try File.event(), try File.event())
        let session = try Session { server in
            try server.addIOEventFD(IOEventFD(file: one.number, offset: 0, size: 4), to: .bar0)
            try server.addIOEventFD(IOEventFD(file: one.number, offset: 8, size: 4), to: .bar0)
            try server.addIOEventFD(IOEventFD(file: one.number, offset: 8, size: 4), to: .bar2)
        }
        func entries(_ region: UInt32) throws -> [SubRegion] {
            let query = encoded(RegionIOFDs(index: region, argsz: 4096))
            let reply = try session.call(.deviceGetRegionIOFDs, query)
            return try stride(from: 16, to: reply.payload.count, by: 48).map {
                try decoded(SubRegion.self, Array(reply.payload.dropFirst($0).prefix(48)))
            }
        }
        #expect(try entries(0).map(\.offset) == [8, 0])
        session.server.removeIOEventFDs(from: .bar0)
        #expect(try entries(0).isEmpty)
        #expect(try entries(2).map(\.offset) == [8])
        try session.server.addIOEventFD(IOEventFD(file: two.number, offset: 16, size: 4), to: .bar0)
        #expect(try entries(0).map(\.offset) == [16])
        session.server.removeIOEventFDs(from: .bar5)
    }

    @Test func noNotifiers() throws {
        let session = try Session()
        let reply = try session.call(.deviceGetRegionIOFDs, encoded(RegionIOFDs(index: 0, argsz: 4096)))
        #expect(reply.payload == bytes(UInt32(16), UInt32(0), UInt32(0), UInt32(0)) && reply.files.isEmpty)
        for request in [
            RegionIOFDs(index: 5), RegionIOFDs(index: 9), RegionIOFDs(index: .max),
            RegionIOFDs(index: 0, argsz: 15), RegionIOFDs(index: 0, argsz: (1 << 20) + 1),
        ] {
            try session.fail(.invalidArgument, .deviceGetRegionIOFDs, encoded(request))
        }
        try session.fail(
            .invalidArgument, .deviceGetRegionIOFDs, bytes(UInt32(16), UInt32(1), UInt32(0), UInt32(0)))
        try session.fail(
            .invalidArgument, .deviceGetRegionIOFDs, bytes(UInt32(16), UInt32(0), UInt32(0), UInt32(1)))
    }
}
