import SystemPackage
import Testing
import VFIOUserAddressSpace
import VFIOUserSystem
import VFIOUserWire

@testable import VFIOUserServer

/// DMA_UNMAP with a bitmap of what is dirty.
@Suite struct MigrationUnmapTests {
    static let page = MigrationLoggingTests.page
    static let mapped = MigrationLoggingTests.mapped
    static let size = MigrationLoggingTests.size

    private func client(_ device: RecordingDevice = RecordingDevice()) throws -> MigrationClient {
        try MigrationLoggingTests.client(device)
    }

    @Test func unmapWithBitmap() throws {
        let device = RecordingDevice()
        let client = try client(device)
        #expect(try client.startLogging(Self.page).error == nil)
        try client.server.markDirty(Self.mapped + 10 * Self.page, 1)
        // What is written while the device lets go counts, too.
        device.onRemoval = { region, server in try? server.markDirty(region.address + 99 * Self.page, 1) }
        let bitmap = DMAUnmap.BitmapRequest(pageSize: Self.page, size: 16)
        let reply = try client.unmap(Self.mapped, Self.size, bitmap: bitmap)
        #expect(reply.error == nil)
        #expect(
            Array(reply.payload[..<40])
                == payload(DMAUnmap(address: Self.mapped, size: Self.size, bitmap: bitmap)))
        #expect(try reply.words(from: 40) == [1 << 10, 1 << 35])
        #expect(reply.payload.count == 56)
        #expect(try client.unmap(Self.mapped, Self.size).error == .noSuchFileOrDirectory)
        #expect(device.calls.last == .quiesce)
        #expect(device.calls.filter { $0 == .removed(Self.mapped) }.count == 1)
    }

    /// Another page size, after a reply full of ones: the bitmap starts from zero.
    @Test(arguments: [2048, 8192, 16384] as [UInt64])
    func unmapWithOtherPageSize(_ page: UInt64) throws {
        let client = try client()
        #expect(try client.startLogging(Self.page).error == nil)
        _ = try client.feature(.migration, .probe, then: [UInt8](repeating: 0xff, count: 2000))
        try client.server.markDirty(Self.mapped, 1)
        let count = (Self.size / page + 63) / 64
        let bitmap = DMAUnmap.BitmapRequest(pageSize: page, size: count * 8)
        let reply = try client.unmap(Self.mapped, Self.size, bitmap: bitmap)
        #expect(
            try reply.words(from: 40) == [page == 2048 ? 3 : 1]
                + [UInt64](repeating: 0, count: Int(count) - 1))
    }

    /// A request that fails clears nothing and unmaps nothing.
    @Test func unmapErrors() throws {
        let device = RecordingDevice()
        let client = try client(device)
        func unmap(_ iova: UInt64, _ size: UInt64, _ page: UInt64, _ bytes: UInt64) throws -> Errno? {
            try client.unmap(iova, size, bitmap: .init(pageSize: page, size: bytes)).error
        }
        let (iova, size, page) = (Self.mapped, Self.size, Self.page)
        #expect(try unmap(iova, size, page, 16) == .invalidArgument)
        #expect(try unmap(0, size, page, 16) == .noSuchFileOrDirectory)
        #expect(try client.startLogging(page).error == nil)
        try client.server.markDirty(iova, 1)
        #expect(try unmap(0, size, 0, 16) == .noSuchFileOrDirectory)
        #expect(try unmap(0, 0, page, 16) == .noSuchFileOrDirectory)
        #expect(try unmap(iova, .max, page, 16) == .noSuchFileOrDirectory)
        #expect(try unmap(iova + page, page, page, 8) == .notSupported)
        #expect(try unmap(iova, size, 0, 16) == .invalidArgument)
        #expect(try unmap(iova, size, 3 * page, 8) == .invalidArgument)
        #expect(try unmap(iova, size, 1 << 40, 8) == .invalidArgument)
        #expect(try unmap(iova, size, page, 8) == .invalidArgument)
        #expect(try unmap(iova, size, page, 24) == .invalidArgument)
        #expect(try unmap(iova, size, page, .max - 10) == .invalidArgument)
        #expect(try unmap(iova, size, page, 1 << 20) == .invalidArgument)
        #expect(try unmap(MigrationLoggingTests.byMessage, size, page, 16) == .invalidArgument)
        // The beginning of a mapping is not a mapping.
        #expect(try unmap(iova, page, page, 8) == .noSuchFileOrDirectory)
        #expect(device.calls.allSatisfy { if case .removed = $0 { false } else { true } })
        #expect(try client.bits(iova, size, page) == [1, 0])
    }

    @Test func unmapShortPayloads() throws {
        let client = try client()
        #expect(try client.startLogging(Self.page).error == nil)
        let whole = payload(
            DMAUnmap(
                address: Self.mapped, size: Self.size,
                bitmap: DMAUnmap.BitmapRequest(pageSize: Self.page, size: 16)))
        for count in 1..<40 {
            #expect(try client.call(.dmaUnmap, Array(whole[..<count])).error == .invalidArgument)
        }
        #expect(try client.call(.dmaUnmap, whole).error == nil)
    }
}
