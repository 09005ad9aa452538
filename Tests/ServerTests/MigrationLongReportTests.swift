import Glibc
import SystemPackage
import Testing
import VFIOUserAddressSpace
import VFIOUserSystem
import VFIOUserWire

@testable import VFIOUserServer

/// Dirty reports that are longer than the memory for a reply, and those that would be.
@Suite struct MigrationLongReportTests {
    /// More than a reply holds: made while it is sent, and the next reply follows in step.
    @Test func longReport() throws {
        let client = try MigrationClient(RecordingDevice())
        let memory = try File.memory(4096)
        let size: UInt64 = 24 << 20
        #expect(try client.map(0, size, memory).error == nil)
        #expect(try client.startLogging(4096).error == nil)
        let marked: [UInt64] = [0, 1, 2000, 4095, 6143]
        for page in marked { try client.server.markDirty(page * 4096, 1) }
        #expect(try client.report(0, size, 1, argsz: 32 + 3 << 20 - 1).error == .invalidArgument)

        // A bit for every byte, with a request before and one behind.
        try client.peer.request(.deviceFeature, payload(DeviceFeature(.init(.migration, .get), argsz: 16)))
        try client.peer.request(
            .deviceFeature,
            payload(
                DeviceFeature(.init(.dmaLoggingReport, .get), argsz: 32 + 3 << 20),
                DMALoggingReport(iova: 0, length: size, pageSize: 1)))
        try client.peer.request(
            .deviceFeature, payload(DeviceFeature(.init(.migDeviceState, .get), argsz: 16)))
        var replies: [Received] = []
        let worker = Background {
            for _ in 0..<3 { if let reply = try? client.peer.receive() { replies.append(reply) } }
        }
        #expect(try client.server.poll() == 3)
        worker.join()
        #expect(replies.map(\.payload.count) == [16, 32 + 3 << 20, 16])
        #expect(replies.allSatisfy { $0.error == nil })
        let reply = try #require(replies.dropFirst().first)
        #expect(try reply.decode(DeviceFeature.self).argsz == 32 + 3 << 20)
        let words = try reply.words(from: 32)
        var expected = Set<Int>()
        for page in marked { expected.formUnion(Int(page) * 64..<Int(page) * 64 + 64) }
        #expect(words.indices.allSatisfy { words[$0] == (expected.contains($0) ? .max : 0) })
        #expect(try client.bits(0, size, 4096).allSatisfy { $0 == 0 })
    }

    /// Without a reply nothing is sent, and nothing cleared.
    @Test func longReportUnanswered() throws {
        let client = try MigrationClient(RecordingDevice())
        let memory = try File.memory(4096)
        #expect(try client.map(0, 24 << 20, memory).error == nil)
        #expect(try client.startLogging(4096).error == nil)
        try client.server.markDirty(0, 1)
        try client.peer.request(
            .deviceFeature,
            payload(
                DeviceFeature(.init(.dmaLoggingReport, .get), argsz: .max),
                DMALoggingReport(iova: 0, length: 24 << 20, pageSize: 1)), flags: .noReply)
        #expect(try client.server.poll() == 1)
        #expect(client.peer.isQuiet)
        #expect(try client.state() == .running)
        #expect(try client.bits(0, 24 << 20, 4096).first == 1)
    }

    /// The client leaves while a long report is on its way.
    @Test func longReportCutShort() throws {
        let device = RecordingDevice()
        let client = try MigrationClient(device)
        let memory = try File.memory(4096)
        #expect(try client.map(0, 24 << 20, memory).error == nil)
        #expect(try client.startLogging(4096).error == nil)
        try client.peer.request(
            .deviceFeature,
            payload(
                DeviceFeature(.init(.dmaLoggingReport, .get), argsz: .max),
                DMALoggingReport(iova: 0, length: 24 << 20, pageSize: 1)))
        let worker = Background {
            var bytes = [UInt8](repeating: 0, count: 100_000)
            // The array's bytes.
            _ = unsafe recv(client.peer.number, &bytes, bytes.count, 0)
            client.leave()
        }
        _ = try client.server.poll()
        worker.join()
        #expect(throws: Errno.socketNotConnected) { try client.server.poll() }
        #expect(device.calls.last == .reset(.lostConnection))
        #expect(client.server.isAttached == false)
    }

    /// Bitmaps beyond every measure, on mappings that cost the client nothing.
    @Test func hugeRanges() throws {
        let client = try MigrationClient(RecordingDevice())
        let memory = try File.memory(4096)
        let size: UInt64 = 8 << 40
        #expect(try client.map(0, size, memory, [.read, .write, .fileIO]).error == nil)
        #expect(try client.startLogging(1).error == .noMemory)
        #expect(try client.startLogging(4096).error == nil)
        try client.server.markDirty(size - 1, 1)
        for page: UInt64 in [1, 2, 256, 2048] {
            #expect(try client.report(0, size, page, argsz: .max).error == .invalidArgument)
        }
        #expect(try client.report(0, 1 << 20, 4096).error == nil)
    }

    /// A bit for very much, of a mapping less huge for the sake of builds without optimisation.
    @Test func hugePages() throws {
        let client = try MigrationClient(RecordingDevice())
        let memory = try File.memory(4096)
        let size: UInt64 = 64 << 30
        #expect(try client.map(0, size, memory, [.read, .write, .fileIO]).error == nil)
        #expect(try client.startLogging(4096).error == nil)
        try client.server.markDirty(size - 1, 1)
        let bits = try client.bits(0, size, 8 << 20)
        #expect(bits.count == 128)
        #expect(bits.dropLast().allSatisfy { $0 == 0 })
        #expect(bits.last == 1 << 63)
        try client.server.markDirty(1 << 30, 1)
        #expect(try client.bits(0, size, size) == [1])
        #expect(try client.bits(0, size, size) == [0])
    }
}
