import Glibc
import SystemPackage
import Testing
import VFIOUserAddressSpace
import VFIOUserSystem
import VFIOUserWire

@testable import VFIOUserServer

/// Dirty logging: starting, stopping, reports, unmapping with a bitmap.
@Suite struct MigrationLoggingTests {
    static let page: UInt64 = 4096
    /// A mapping by mmap, one by file, and one by messages.
    static let mapped: UInt64 = 0x100_0000
    static let byFile: UInt64 = 0x200_0000
    static let byMessage: UInt64 = 0x300_0000
    static let pages: UInt64 = 100
    static let size = pages * page

    /// A client with those mappings.
    static func client(_ device: RecordingDevice = RecordingDevice()) throws -> MigrationClient {
        let client = try MigrationClient(device)
        let memory = try File.memory(1 << 20)
        #expect(try client.map(Self.mapped, Self.size, memory).error == nil)
        #expect(
            try client.map(Self.byFile, Self.size, memory, [.read, .write, .fileIO]).error == nil)
        #expect(try client.map(Self.byMessage, Self.size, nil).error == nil)
        return client
    }

    @Test func starting() throws {
        let client = try Self.client()
        #expect(try client.startLogging(0).error == .invalidArgument)
        #expect(try client.startLogging(Self.size + 1).error == .invalidArgument)
        #expect(try client.startLogging(.max).error == .invalidArgument)
        #expect(try client.bitsError() == .invalidArgument)
        #expect(try client.startLogging(Self.page).error == nil)
        #expect(try client.startLogging(Self.page).error == nil)
        #expect(try client.startLogging(Self.page / 2).error == .invalidArgument)
        #expect(try client.startLogging(Self.page * 2).error == .invalidArgument)
        #expect(try client.bits(Self.mapped, Self.size, Self.page) == [0, 0])
        for _ in 0..<2 {
            #expect(try client.feature(.dmaLoggingStop, .set).error == nil)
            #expect(try client.bitsError() == .invalidArgument)
        }
        #expect(try client.startLogging(Self.page / 2).error == nil)
        #expect(try client.bits(Self.mapped, Self.size, Self.page) == [0, 0])
    }

    /// Ranges are not looked at, however many there are said to be.
    @Test func ranges() throws {
        let client = try Self.client()
        let start = DMALoggingStart(pageSize: Self.page, rangeCount: .max)
        let range = DMALoggingStart.Range(iova: .max, length: .max)
        let reply = try client.feature(.dmaLoggingStart, .set, then: payload(start, range))
        #expect(reply.error == nil)
        #expect(reply.payload.count == 8 + 16 + 16)
        #expect(try client.bits(Self.mapped, Self.size, Self.page) == [0, 0])
    }

    @Test func withoutDMA() throws {
        let client = try MigrationClient(RecordingDevice(), dma: false)
        #expect(try client.startLogging(Self.page).error == .invalidArgument)
        #expect(try client.feature(.dmaLoggingStop, .set).error == .invalidArgument)
        #expect(try client.report(0, Self.page, Self.page).error == .invalidArgument)
        #expect(try client.feature(.dmaLoggingStart, .probe).error == nil)
    }

    /// The checks in their order: each request breaks its rule and later ones, if it can.
    @Test func reportErrors() throws {
        let client = try Self.client()
        let (iova, size, page) = (Self.mapped, Self.size, Self.page)
        #expect(try client.report(0, page, 0).error == .invalidArgument)
        #expect(try client.report(0, page - 1, page).error == .invalidArgument)
        #expect(try client.report(0, 0, 0).error == .invalidArgument)
        #expect(try client.report(0, .max, 1).error == .invalidArgument)
        #expect(try client.report(0, page, page, argsz: 39).error == .invalidArgument)
        #expect(try client.report(0, page, page, argsz: 0).error == .invalidArgument)
        #expect(try client.report(0, page, page).error == .noSuchFileOrDirectory)
        #expect(try client.report(iova - page, 2 * page, page).error == .noSuchFileOrDirectory)
        #expect(try client.report(iova, size + 1, page).error == .noSuchFileOrDirectory)
        #expect(try client.report(iova, .max - 1, 1 << 40).error == .noSuchFileOrDirectory)
        #expect(try client.report(.max, .max, 1 << 40).error == .noSuchFileOrDirectory)
        #expect(try client.report(iova + page, page, page).error == .notSupported)
        // Logging is off.
        #expect(try client.report(iova, page, page).error == .invalidArgument)
        #expect(try client.startLogging(8192).error == nil)
        #expect(try client.report(0, page, page).error == .noSuchFileOrDirectory)
        #expect(try client.report(iova + 1, page, page).error == .notSupported)
        #expect(try client.report(iova, 3 * page, 3 * page).error == .invalidArgument)
        #expect(try client.report(iova, page, page).error == .invalidArgument)
        #expect(try client.report(Self.byMessage, size, page).error == .invalidArgument)
        #expect(try client.report(iova, size, page, argsz: 32 + 16).error == nil)
        #expect(try client.report(iova, size, page, argsz: 32 + 15).error == .invalidArgument)
    }

    /// Two neighbouring mappings are not one range.
    @Test func acrossMappings() throws {
        let client = try Self.client()
        let memory = try File.memory(1 << 20)
        #expect(try client.map(Self.mapped + Self.size, Self.size, memory).error == nil)
        #expect(try client.startLogging(Self.page).error == nil)
        #expect(try client.report(Self.mapped, 2 * Self.size, Self.page).error == .noSuchFileOrDirectory)
        let bitmap = DMAUnmap.BitmapRequest(pageSize: Self.page, size: 32)
        #expect(
            try client.unmap(Self.mapped, 2 * Self.size, bitmap: bitmap).error == .noSuchFileOrDirectory)
    }

    @Test(arguments: [mapped, byFile])
    func reportReply(_ iova: UInt64) throws {
        let client = try Self.client()
        #expect(try client.startLogging(Self.page).error == nil)
        try client.server.markDirty(iova + 3 * Self.page - 1, 2)
        try client.server.markDirty(iova + 99 * Self.page, 1)
        let reply = try client.report(iova, Self.size, Self.page)
        let flags = DeviceFeature.Flags(.dmaLoggingReport, .get)
        #expect(
            Array(reply.payload[..<32])
                == payload(
                    DeviceFeature(flags, argsz: 48),
                    DMALoggingReport(iova: iova, length: Self.size, pageSize: Self.page)))
        #expect(try reply.words(from: 32) == [0b1100, 1 << 35])
        #expect(reply.payload.count == 48)
        #expect(try client.bits(iova, Self.size, Self.page) == [0, 0])
    }

    /// A report of the beginning of a mapping also tells of the pages that share a word with its last one.
    @Test func prefix() throws {
        let client = try Self.client()
        #expect(try client.startLogging(Self.page).error == nil)
        for page: UInt64 in [2, 40, 64, 70] {
            try client.server.markDirty(Self.mapped + page * Self.page, 1)
        }
        #expect(try client.bits(Self.mapped, 3 * Self.page, Self.page) == [1 << 2 | 1 << 40])
        #expect(try client.bits(Self.mapped, Self.size, Self.page) == [0, 1 << 0 | 1 << 6])
    }

    @Test func readOnlyUseIsClean() throws {
        let client = try Self.client()
        #expect(try client.startLogging(Self.page).error == nil)
        for entry in try client.server.entries(Self.mapped, Self.page, .read) {
            client.server.endUse(of: entry)
        }
        #expect(try client.bits(Self.mapped, Self.size, Self.page) == [0, 0])
        for entry in try client.server.entries(Self.mapped, Self.page, .write) {
            client.server.endUse(of: entry)
        }
        #expect(try client.bits(Self.mapped, Self.size, Self.page) == [1, 0])
    }

    /// Memory that comes while logging is on is watched, and must not be smaller than a page.
    @Test func mappingWhileLogging() throws {
        let client = try Self.client()
        let memory = try File.memory(1 << 20)
        #expect(try client.startLogging(Self.page).error == nil)
        #expect(try client.map(0, Self.page - 1, memory).error == .invalidArgument)
        #expect(try client.map(0, Self.page - 1, nil).error == nil)
        #expect(try client.map(0x1_0000, Self.page, memory).error == nil)
        try client.server.markDirty(0x1_0000, 1)
        #expect(try client.bits(0x1_0000, Self.page, Self.page) == [1])
    }

    /// Another client finds logging on, and no bits of its predecessor.
    @Test func survivesResetAndReconnection() throws {
        let path = "/tmp/vfio-user-test-logging-\(getpid()).sock"
        let server = try DeviceServer(RecordingDevice(), at: .path(path), waiting: .polling)
        defer { server.close() }
        try server.enableDMA()
        try server.enableMigration()
        let memory = try File.memory(1 << 20)
        var client = try MigrationClient(server, by: RawPeer(connectingTo: path))
        #expect(try client.startLogging(Self.page).error == nil)
        #expect(try client.map(0, Self.size, memory).error == nil)
        try server.markDirty(0, 1)
        #expect(try client.call(.deviceReset).error == nil)
        #expect(try client.bits(0, Self.size, Self.page) == [1, 0])
        try server.markDirty(0, Self.size)
        client.leave()
        #expect(throws: Errno.socketNotConnected) { try server.poll() }

        client = try MigrationClient(server, by: RawPeer(connectingTo: path))
        #expect(try client.startLogging(8192).error == .invalidArgument)
        #expect(try client.map(0, Self.size, memory).error == nil)
        #expect(try client.bits(0, Self.size, Self.page) == [0, 0])
        try server.markDirty(5 * Self.page, 1)
        #expect(try client.bits(0, Self.size, Self.page) == [1 << 5, 0])
        client.leave()
    }

    // MARK: Page sizes

    /// Random marks, in every relation of the two page sizes, against a model of one flag per byte's page.
    @Test(arguments: [512, 4096, 1 << 16, 1000, 4097, 12288])
    func pageSizes(_ logging: UInt64) throws {
        let seed = UInt64.random(in: 0 ... .max)
        var random = SeededGenerator(seed: seed)
        let memory = try File.memory(4096)
        for round in 0..<40 {
            let client = try MigrationClient(RecordingDevice())
            let size = UInt64.random(in: logging...(logging * 700), using: &random)
            #expect(try client.map(0, size, memory).error == nil)
            #expect(try client.startLogging(logging).error == nil)
            var dirty = Set<UInt64>()
            for _ in 0..<Int.random(in: 0...12, using: &random) {
                let start = UInt64.random(in: 0..<size, using: &random)
                let most = min(size - start, UInt64.random(in: 1...(logging * 80), using: &random))
                try client.server.markDirty(start, most)
                dirty.formUnion((start / logging)...((start + most - 1) / logging))
            }
            let page = UInt64(1) << UInt64.random(in: 6...22, using: &random)
            if page > size { continue }
            let count = (size + page - 1) / page
            var expected = [UInt64](repeating: 0, count: Int((count + 63) / 64))
            for index in dirty {
                let last = min(index * logging + logging, size) - 1
                for bit in (index * logging / page)...(last / page) {
                    expected[Int(bit / 64)] |= 1 << (bit % 64)
                }
            }
            let reply = try client.report(0, size, page, isLong: true)
            let bits = try reply.words(from: 32)
            #expect(bits.count == expected.count)
            // Beyond the range only what shares a page of the logging's with its last byte.
            let tail = count % 64
            let mask: UInt64 = tail == 0 ? .max : (1 << tail) - 1
            // Numbers by the thousand would say nothing.
            let isSame = bits.dropLast() == expected.dropLast() && (bits.last ?? 0) & mask == expected.last
            #expect(isSame, "seed \(seed) round \(round) page \(page)")
            let again = try client.report(0, size, page, isLong: true)
            #expect(try again.words(from: 32).allSatisfy { $0 == 0 })
        }
    }
}

extension MigrationClient {
    /// The errno of a report on memory that is mapped.
    fileprivate func bitsError() throws -> Errno? {
        try report(MigrationLoggingTests.mapped, MigrationLoggingTests.page, MigrationLoggingTests.page).error
    }
}
