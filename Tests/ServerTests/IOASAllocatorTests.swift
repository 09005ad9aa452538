import SystemPackage
import Testing
import VFIOUserAddressSpace
import VFIOUserWire

@testable import VFIOUserServer

/// IOVAs that the device chooses.
@Suite struct IOASAllocatorTests {
    final class Allocator: IOVAAllocator {
        /// The next answers; then 1 MiB after 1 MiB.
        var answers: [Result<UInt64, Errno>] = []
        var next: UInt64 = 1 << 20
        /// IOVAs that are in use, by start.
        var used: [UInt64: UInt64] = [:]
        var requests: [IOVARequest] = []
        var whenAsked: (DeviceServer) -> Void = { _ in }

        func allocateIOVA(for memory: IOVARequest, on server: DeviceServer) throws(Errno) -> UInt64 {
            requests.append(memory)
            whenAsked(server)
            if !answers.isEmpty { return try answers.removeFirst().get() }
            defer { next += 1 << 20 }
            used[next] = memory.size
            return next
        }

        func freeIOVA(_ iova: UInt64, size: UInt64, on server: DeviceServer) {
            #expect(used[iova] == size)
            used[iova] = nil
        }
    }

    let allocator = Allocator()

    private func session(_ features: IOASFeatures = .all, limit: Int = 65_535) throws -> IOASSession {
        try IOASSession(features: features, iovas: .custom(allocator), limit: limit)
    }

    @Test func asksAndTells() throws {
        let session = try session()
        let file = try IOASFile(size: 0x10000)
        try file.fill([77], at: 0x5123)
        let (one, two) = (try session.allocate(), try session.allocate())
        try session.attach(one)
        let iova = try session.map(one, file, length: 0x2000, offset: 0x5123)
        #expect(iova == 1 << 20)
        let request = try #require(allocator.requests.last)
        #expect(request.addressSpace == one && request.size == 0x2000 && request.fileOffset == 0x5123)
        #expect(request.file != nil)
        #expect(try unsafe #require(request.address).load(as: UInt8.self) == 77)
        #expect(try session.peek(iova, 1) == [77])
        // Memory without an address is asked for too.
        #expect(try session.map(one, nil) == 2 << 20)
        #expect(allocator.requests.last?.file == nil)
        #expect(unsafe allocator.requests.last?.address == nil)
        #expect(try session.copy(one, iova + 0x1000, 0x1000, to: two) == 3 << 20)
        #expect(allocator.requests.last?.fileOffset == 0x6123)
        #expect(allocator.requests.last?.addressSpace == two)
        // What the client chooses is not.
        try session.map(one, file, at: 0x5000)
        #expect(allocator.requests.count == 3)
        #expect(allocator.used.count == 3)

        try session.unmap(one, iova, 0x2000)
        #expect(allocator.used.keys.sorted() == [2 << 20, 3 << 20])
        try session.destroy(two)
        #expect(allocator.used.keys.sorted() == [2 << 20])
        try session.unmapAll(one)
        #expect(allocator.used.isEmpty)
    }

    @Test func refusedAnswers() throws {
        let other = Allocator()
        let session = try IOASSession(features: .all, iovas: .custom(other)) {
            try $0.setIOVALimits(IOVALimits(ranges: [0x1000...0xffff_ffff], alignment: 4096))
        }
        let file = try IOASFile(size: 0x10000)
        let id = try session.allocate()
        try session.map(id, file, at: 0x8000)
        let map = VFIOUserWire.IOASMap(ioasID: id, flags: .readable, length: 0x2000)
        func error(_ answer: Result<UInt64, Errno>) throws -> Errno? {
            other.answers = [answer]
            return try session.error(of: .ioasMap, map, [file.number])
        }
        #expect(try error(.success(0x7000)) == .addressInUse)
        #expect(try error(.success(0x8000)) == .addressInUse)
        #expect(try error(.success(0x9001)) == .invalidArgument)
        #expect(try error(.success(0)) == .invalidArgument)
        #expect(try error(.success(0xffff_f000)) == .invalidArgument)
        #expect(try error(.success(.max - 4095)) == .invalidArgument)
        #expect(try error(.failure(.noMemory)) == .noMemory)
        #expect(file.mappings().count == 1 && file.descriptorCount() == 2)
        #expect(other.used.isEmpty)
        other.answers = [.success(0x8000)]
        let copy = IOASCopy(
            sourceID: id, destinationID: id, flags: .readable, sourceIOVA: 0x8000, length: 0x1000)
        #expect(try session.error(of: .ioasCopy, copy) == .addressInUse)
        // Nothing is asked for what fails anyway.
        let count = other.requests.count
        var bad = map
        bad.ioasID = 9
        #expect(try session.error(of: .ioasMap, bad, [file.number]) == .noSuchFileOrDirectory)
        bad = map
        bad.offset = 0x10000
        #expect(try session.error(of: .ioasMap, bad, [file.number]) == .invalidArgument)
        #expect(other.requests.count == count)
        let answer = try session.succeed(.iovaRanges, IOVARanges(ioasID: id, argsz: 40))
        var reader = Reader(answer.payload.span)
        let head = try IOVARanges(decodingReply: &reader)
        #expect(head.alignment == 4096 && head.rangeCount == 1)
        #expect(try IOVARanges.Range(decoding: &reader).last == 0xffff_ffff)
    }

    @Test func disconnect() throws {
        let session = try session()
        let file = try IOASFile(size: 0x1000)
        for id in [try session.allocate(), try session.allocate()] {
            for _ in 0..<3 { try session.map(id, file) }
        }
        try session.attach(1)
        #expect(allocator.used.count == 6)
        session.leave()
        #expect(errno(ioas: { _ = try session.server.poll() }) == .socketNotConnected)
        #expect(allocator.used.isEmpty)
    }

    /// The client goes while the device is asked.
    @Test func clientGoesMeanwhile() throws {
        let session = try session()
        let file = try IOASFile(size: 0x1000)
        let id = try session.allocate()
        try session.map(id, nil)
        try session.attach(id)
        // It holds what holds the allocator.
        defer { allocator.whenAsked = { _ in } }
        allocator.whenAsked = { server in
            session.leave()
            _ = try? server.peek(1 << 20, 1)
        }
        let map = VFIOUserWire.IOASMap(ioasID: id, flags: .readable, length: 0x1000)
        try session.send(.ioasMap, encoded(ioas: map), [file.number])
        _ = try? session.server.poll()
        #expect(!session.server.isAttached)
        #expect(allocator.used.isEmpty)
        #expect(file.mappings().isEmpty && file.descriptorCount() == 1)
    }
}
