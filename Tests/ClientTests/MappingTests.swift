import SystemPackage
import Testing
import VFIOUserClient

struct MappingTests {
    /// A region info reply for BAR0 with mappable areas.
    static func regionInfo(
        size: UInt64 = 0x4000, fileOffset: UInt64 = 0, flags: UInt32 = 0xf, areas: [(UInt64, UInt64)]
    ) -> [UInt8] {
        let length = UInt32(48 + 16 * areas.count)
        let head = bytes(length, flags, UInt32(0), UInt32(32), size, fileOffset)
        let list = bytes(UInt16(1), UInt16(1), UInt32(0), UInt32(areas.count), UInt32(0))
        return areas.reduce(head + list) { $0 + bytes($1.0, $1.1) }
    }

    /// Has the client ask about BAR0 of a server that answers with this, and a file with `content`.
    @discardableResult
    private func ask<Result>(
        _ reply: [UInt8], file: DMAFile?, _ body: (Client.RegionDescription) throws -> Result
    ) throws -> Result {
        try FakeServer.run { server in
            let request = try server.expect(Wire.regionInfo)
            try server.reply(to: request, reply, files: file.map { [$0.number] } ?? [])
        } client: { client in
            try body(client.regionInfo(.bar0))
        }
    }

    @Test func loadsAndStoresGoToTheFile() throws {
        let file = try DMAFile(count: 0x5000)
        let reply = Self.regionInfo(fileOffset: 0x1000, areas: [(0x1000, 0x1000), (0x3000, 0x800)])
        try ask(reply, file: file) { region in
            #expect(region.size == 0x4000)
            #expect(region.fileOffset == 0x1000)
            #expect(region.areas.map(\.offset) == [0x1000, 0x3000])
            let first = try MappedRegion(region)
            let second = try MappedRegion(region, area: 1)
            #expect(first.start == 0x1000)
            #expect(first.count == 0x1000)
            try first.store(0x1122_3344_5566_7788 as UInt64, at: 0x1008)
            try first.storeReleasing(0xaabb as UInt16, at: 0x1ffe)
            try second.store(0xcc as UInt8, at: 0x3000)
            #expect(file.memory(0x2008, 8) == bytes(0x1122_3344_5566_7788 as UInt64))
            #expect(file.memory(0x2ffe, 2) == [0xbb, 0xaa])
            #expect(file.memory(0x4000, 1) == [0xcc])
            #expect(try first.load(at: 0x100c, as: UInt32.self) == 0x1122_3344)
            #expect(try first.loadAcquiring(at: 0x1008, as: UInt8.self) == 0x88)
            let doorbell = try first.doorbell(at: 0x1010)
            doorbell.ring(77)
            #expect(doorbell.value == 77)
            #expect(file.memory(0x2010, 4) == bytes(UInt32(77)))

            for offset in [0, 0xfff, 0x1ffd, 0x1fff, 0x2000, 0x1002, .max, 1 << 63] as [UInt64] {
                #expect(throws: Errno.invalidArgument) { try first.load(at: offset, as: UInt32.self) }
                #expect(throws: Errno.invalidArgument) { try first.store(0 as UInt32, at: offset) }
                #expect(throws: Errno.invalidArgument) { try first.doorbell(at: offset) }
            }
            #expect(throws: Errno.invalidArgument) { try second.load(at: 0x37fc, as: UInt64.self) }
            #expect(throws: Errno.noSuchAddressOrDevice) { try MappedRegion(region, area: 2) }
            #expect(throws: Errno.noSuchAddressOrDevice) { try MappedRegion(region, area: -1) }
        }
    }

    @Test func areasNeedNotBeginAtAPage() throws {
        let file = try DMAFile(count: 0x3000)
        try ask(Self.regionInfo(fileOffset: 0x10, areas: [(0x1010, 0x20)]), file: file) { region in
            let mapped = try MappedRegion(region)
            try mapped.store(5 as UInt32, at: 0x1010)
            #expect(file.memory(0x1020, 4) == bytes(UInt32(5)))
            #expect(throws: Errno.invalidArgument) { try mapped.load(at: 0x1030, as: UInt8.self) }
        }
    }

    @Test func readOnlyRegionsCannotBeStoredTo() throws {
        let file = try DMAFile(count: 0x1000)
        try ask(Self.regionInfo(size: 0x1000, flags: 0xd, areas: [(0, 0x1000)]), file: file) { region in
            #expect(!region.isWritable)
            let mapped = try MappedRegion(region)
            #expect(try mapped.load(at: 0, as: UInt32.self) == 0)
            #expect(throws: Errno.invalidArgument) { try mapped.store(1 as UInt32, at: 0) }
            #expect(throws: Errno.invalidArgument) { try mapped.doorbell(at: 0) }
            #expect(throws: Errno.invalidArgument) { try mapped.memory.write([1], at: 0) }
            #expect(throws: Errno.invalidArgument) { try mapped.memory.fill(0..<4) }
        }
    }

    @Test func regionsWithoutAreasAreOne() throws {
        let file = try DMAFile(count: 0x1000)
        let reply = bytes(UInt32(32), UInt32(7), UInt32(0), UInt32(0), UInt64(0x1000), UInt64(0))
        try ask(reply, file: file) { region in
            #expect(region.areas == [Client.MappableRange(offset: 0, size: 0x1000)])
        }
        try ask(reply, file: nil) { region in
            #expect(region.areas.isEmpty)
            #expect(throws: Errno.noSuchAddressOrDevice) { try MappedRegion(region) }
        }
    }

    @Test(
        arguments: [
            (0x3000, 0x1001), (0x4001, 0), (.max, 1), (1, .max), (0x4000, 1),
        ] as [(UInt64, UInt64)])
    func areasOutsideTheRegionAreProtocolErrors(_ area: (UInt64, UInt64)) throws {
        #expect(throws: Errno.protocolError) {
            try ask(Self.regionInfo(areas: [(0, 16), area]), file: nil) { _ in }
        }
    }

    /// What a hostile server can say about areas that are inside their region.
    @Test func filesThatDoNotCoverTheAreaAreRefused() throws {
        let file = try DMAFile(count: 0x1000)
        for (fileOffset, size, area, error) in [
            (0, 0x4000, (0, 0x1001), Errno.noSuchAddressOrDevice),
            (0x1000, 0x4000, (0, 1), .noSuchAddressOrDevice),
            (.max, 0x4000, (1, 1), .overflow),
            (0, .max, (0, .max), .overflow),
            (1 << 62, 1 << 62, (0, 1 << 62), .overflow),
            (0, 0x4000, (0, 0), .invalidArgument),
        ] as [(UInt64, UInt64, (UInt64, UInt64), Errno)] {
            try ask(Self.regionInfo(size: size, fileOffset: fileOffset, areas: [area]), file: file) {
                region in
                #expect(throws: error) { try MappedRegion(region) }
            }
        }
        let pipe = try ClosedProbe()
        try ask(Self.regionInfo(areas: [(0, 0x1000)]), file: DMAFile(borrowing: pipe.writer)) { region in
            #expect(throws: Errno.self) { try MappedRegion(region) }
        }
        pipe.closeOwn()
        #expect(pipe.isClosedEverywhere())
    }

    @Test func regionsWithManyAreasAreAskedAboutTwice() throws {
        let areas = (0..<100).map { (UInt64($0) * 32, UInt64(16)) }
        try FakeServer.run { server in
            let first = try server.expect(Wire.regionInfo)
            let complete = Self.regionInfo(areas: areas)
            var short = Array(complete.prefix(32)) + [UInt8](repeating: 0, count: 480)
            short[4] = 7  // without capabilities
            short[12] = 0
            try server.reply(to: first, short)
            let second = try server.expect(Wire.regionInfo)
            #expect(second.payload.count == 32)
            #expect(second.payload.integer(at: 0, as: UInt32.self) == UInt32(complete.count))
            try server.reply(to: second, complete)
        } client: { client in
            let region = try client.regionInfo(.bar0)
            #expect(region.areas.count == 100)
        }
    }

    @Test func dmaMemory() throws {
        let memory = try DMAMemory(count: 0x2000)
        #expect(memory.count == 0x2000)
        try memory.write([1, 2, 3], at: 0x1ffd)
        #expect(try memory.read(at: 0x1ffc, count: 4) == [0, 1, 2, 3])
        try memory.store(0x0102 as UInt16, at: 0)
        try memory.storeReleasing(9 as UInt64, at: 8)
        #expect(try memory.load(at: 0, as: UInt8.self) == 2)
        #expect(try memory.loadAcquiring(at: 8, as: UInt64.self) == 9)
        var target: [UInt8] = [0, 0]
        var span = target.mutableSpan
        try memory.read(at: 0, into: &span)
        #expect(target == [2, 1])
        for (offset, count) in [
            (-1, 1), (0x2000, 1), (0x1fff, 2), (0, 0x2001), (0, -1), (.max, 1), (.min, 1),
        ] {
            #expect(throws: Errno.invalidArgument) { try memory.read(at: offset, count: count) }
        }
        #expect(throws: Errno.invalidArgument) { try memory.write([1, 2], at: 0x1fff) }
        #expect(throws: Errno.invalidArgument) { try memory.load(at: 0x2000, as: UInt8.self) }
        #expect(throws: Errno.invalidArgument) { try memory.store(0 as UInt64, at: 4) }
        #expect(throws: Errno.invalidArgument) { try memory.store(0 as UInt8, at: .min) }
        // Whoever has the descriptor cannot pull the memory away.
        let owner = memory.file
        let file = try #require(owner)
        #expect(throws: Errno.notPermitted) { try file.descriptor.resize(to: 0) }
        #expect(throws: Errno.notPermitted) { try file.descriptor.resize(to: 0x10000) }

        let again = try DMAMemory(sharing: file.descriptor, offset: 0x1000, count: 0x1000)
        #expect(try again.read(at: 0xffd, count: 3) == [1, 2, 3])
        #expect(throws: Errno.noSuchAddressOrDevice) {
            _ = try DMAMemory(sharing: file.descriptor, count: 0x2001)
        }
        #expect(throws: Errno.invalidArgument) { _ = try DMAMemory(count: 0) }
        #expect(throws: Errno.invalidArgument) { _ = try DMAMemory(count: -4096) }
        #expect(throws: Errno.invalidArgument) { _ = try DMAMemory(withoutFile: 0) }
        #expect(throws: Errno.self) { _ = try DMAMemory(count: .max) }
    }

    @Test func recordsInARow() throws {
        let memory = try MappedMemory(privateCount: 256)
        let records = try MappedRecords(memory, at: 16, count: 5, stride: 16)
        #expect(records.count == 5 && records.stride == 16)
        try records.store((1 as UInt64, 2 as UInt64), at: 0)
        try records.store((3 as UInt64, 4 as UInt64), at: 4)
        try records.store(5 as UInt8, at: 1)
        #expect(try memory.read(at: 0, count: 16) == [UInt8](repeating: 0, count: 16))
        #expect(try memory.read(at: 16, count: 24) == bytes(UInt64(1), UInt64(2), UInt64(5)))
        #expect(try memory.read(at: 80, count: 24) == bytes(UInt64(3), UInt64(4), UInt64(0)))
        #expect(try records.load(4) == 3 as UInt64)
        #expect(try records.loadAcquiring(4, offset: 8) == 4 as UInt32)
        #expect(try records.load(0, offset: 15) == 0 as UInt8)

        for index in [-1, 5, .max, .min] {
            #expect(throws: Errno.invalidArgument) { try records.store(0 as UInt64, at: index) }
            #expect(throws: Errno.invalidArgument) { _ = try records.load(index, as: UInt8.self) }
        }
        for offset in [-8, 12, 16, 4, .max] {
            #expect(throws: Errno.invalidArgument) {
                _ = try records.load(0, offset: offset, as: UInt64.self)
            }
            #expect(throws: Errno.invalidArgument) {
                _ = try records.loadAcquiring(0, offset: offset, as: UInt64.self)
            }
        }
        // A record that is longer.
        #expect(throws: Errno.invalidArgument) {
            try records.store((0 as UInt64, 0 as UInt64, 0 as UInt8), at: 0)
        }

        for (offset, count, stride) in [
            (-8, 1, 8), (0, -1, 8), (0, 33, 8), (8, 32, 8), (4, 1, 8), (0, 1, 4), (0, 1, 12), (0, 1, 0),
            (0, 1, -8), (0, .max, 8), (256, 1, 8), (.max, 1, 8),
        ] {
            #expect(throws: Errno.invalidArgument) {
                _ = try MappedRecords(memory, at: offset, count: count, stride: stride)
            }
        }
        _ = try MappedRecords(memory, at: 256, count: 0, stride: 8)
        let file = try DMAFile(count: 4096)
        let readOnly = try MappedMemory(
            sharing: FileDescriptor(rawValue: file.number), offset: 0, count: 4096, isWritable: false)
        #expect(throws: Errno.invalidArgument) { _ = try MappedRecords(readOnly, at: 0, count: 1, stride: 8) }
    }
}
