import SystemPackage
import Testing
import VFIOUserAddressSpace
import VFIOUserWire

@testable import VFIOUserServer

/// IOAS_MAP, IOAS_UNMAP and IOAS_COPY.
@Suite struct IOASMappingTests {
    func mapError(
        _ session: IOASSession, _ file: IOASFile?, id: UInt32 = 1, flags: IOASMapFlags = [.readable],
        iova: UInt64 = 0, length: UInt64 = 4096, offset: UInt64 = 0
    ) throws -> Errno? {
        let map = VFIOUserWire.IOASMap(
            ioasID: id, flags: flags, length: length, iova: iova, offset: offset)
        return try session.error(of: .ioasMap, map, file.map { [$0.number] } ?? [])
    }

    func unmapError(
        _ session: IOASSession, _ iova: UInt64, _ length: UInt64, flags: IOASUnmapFlags = []
    ) throws -> Errno? {
        try session.error(
            of: .ioasUnmap, IOASUnmap(ioasID: 1, flags: flags, iova: iova, length: length))
    }

    /// Section 7.3.
    @Test func wrapping() throws {
        let session = try IOASSession(features: .all)
        let file = try IOASFile(size: 8192)
        let id = try session.allocate()
        #expect(
            try mapError(session, file, flags: [.readable, .fixedIOVA], iova: .max - 4094) == .overflow)
        #expect(try mapError(session, file, offset: .max - 4094) == .overflow)
        #expect(try mapError(session, file, length: .max, offset: 2) == .overflow)
        // A range may end where everything ends.
        #expect(try session.map(id, file, at: .max - 4095) == .max - 4095)
        #expect(try unmapError(session, .max - 4095, 4097) == .overflow)
        #expect(try unmapError(session, 2, .max) == .overflow)
        let copy = IOASCopy(
            sourceID: id, destinationID: id, flags: [.readable], sourceIOVA: .max - 4095, length: 4097)
        #expect(try session.error(of: .ioasCopy, copy) == .overflow)
        var other = IOASCopy(
            sourceID: id, destinationID: id, flags: [.readable, .fixedIOVA], sourceIOVA: .max - 4095,
            destinationIOVA: .max - 100, length: 4096)
        #expect(try session.error(of: .ioasCopy, other) == .overflow)
        // Before the source is looked for.
        other.sourceIOVA = 5
        #expect(try session.error(of: .ioasCopy, other) == .overflow)
        try session.attach(id)
        #expect(session.sees(.max, 1))
        #expect(session.sees(.max - 4095, 4096))
        for (address, length) in [(UInt64.max, 2), (.max - 4095, 4097), (.max - 4095, .max), (0, .max)]
            as [(UInt64, UInt64)]
        {
            #expect(session.translationError(address, length) == .noSuchFileOrDirectory)
        }
        #expect(try unmapError(session, .max - 4095, 4096) == nil)
    }

    @Test func mapErrors() throws {
        let session = try IOASSession(features: .all, limit: 3) {
            try $0.setIOVALimits(IOVALimits(ranges: [0x1000...0x1_ffff, 0x4_0000...0x4_ffff], alignment: 16))
        }
        let file = try IOASFile(size: 0x5000)
        let fixed: IOASMapFlags = [.readable, .fixedIOVA]
        _ = try session.allocate()
        // No right, no length: before and behind the id.
        #expect(try mapError(session, file, id: 9, flags: []) == .invalidArgument)
        #expect(try mapError(session, file, flags: .fixedIOVA) == .invalidArgument)
        #expect(try mapError(session, file, id: 9, length: 0) == .noSuchFileOrDirectory)
        #expect(try mapError(session, file, length: 0) == .invalidArgument)
        // Outside, across a border, unaligned.
        for iova in [0, 0xfff, 0x1_f001, 0x2_0000, 0x3_f800, 0x4_f001, 0x1008, 1 << 60] as [UInt64] {
            #expect(try mapError(session, file, flags: fixed, iova: iova) == .invalidArgument)
        }
        try session.map(1, file, at: 0x1010)
        try session.map(1, file, at: 0x4_f000)
        for iova in [0x1010, 0x2000, 0x1000, 0x4_eff0] as [UInt64] {
            #expect(try mapError(session, file, flags: fixed, iova: iova) == .fileExists)
        }
        // The file has to be long enough, whole pages or not.
        #expect(try mapError(session, file, length: 0x5001) == .invalidArgument)
        #expect(try mapError(session, file, length: 0x1001, offset: 0x4000) == .invalidArgument)
        #expect(try mapError(session, file, length: 1, offset: 1 << 40) == .invalidArgument)
        try session.map(1, file, at: 0x3000, length: 0x1000, offset: 0x4000)
        #expect(try mapError(session, file) == .noSpace)
        #expect(file.descriptorCount() == 2 && file.mappings().count == 3)
    }

    /// What mmap itself refuses.
    @Test func mmapErrors() throws {
        let session = try IOASSession(features: .all)
        _ = try session.allocate()
        let pipe = try FileDescriptor.pipe()
        defer {
            try? pipe.readEnd.close()
            try? pipe.writeEnd.close()
        }
        let map = VFIOUserWire.IOASMap(ioasID: 1, flags: [.readable], length: 4096)
        #expect(
            try session.error(of: .ioasMap, map, [pipe.readEnd.rawValue]) == .operationNotSupportedByDevice)
        // Read only, so that there can be no shared mapping to write to.
        let file = try unsafe FileDescriptor.open("/proc/self/exe", .readOnly)
        defer { try? file.close() }
        let write = VFIOUserWire.IOASMap(ioasID: 1, flags: [.readable, .writeable], length: 4096)
        #expect(try session.error(of: .ioasMap, write, [file.rawValue]) == .permissionDenied)
        #expect(try session.error(of: .ioasMap, map, [file.rawValue]) == nil)
    }

    /// The IOVA keeps the offset within the file's block, whole blocks are mapped, and nothing is left of
    /// them.
    @Test(arguments: [false, true])
    func blocks(serverAddress: Bool) throws {
        let session = try IOASSession(features: .all, iovas: serverAddress ? .serverAddress : .opaque())
        let file = try IOASFile(size: 5 * 4096)
        try file.fill((0..<200).map { UInt8($0) }, at: 4096 + 100)
        let id = try session.allocate()
        try session.attach(id)
        let iova = try session.map(id, file, length: 5000, offset: 4096 + 100)
        #expect(iova % 4096 == 100)
        #expect(file.mappings() == [8192])
        #expect(try session.peek(iova, 200) == (0..<200).map { UInt8($0) })
        let other = try session.map(id, file, length: 1, offset: 3 * 4096 + 4095)
        #expect(other % 4096 == 4095)
        try session.unmap(id, iova, 5000)
        try session.unmap(id, other, 1)
        #expect(file.mappings().isEmpty && file.descriptorCount() == 1)
    }

    /// The lowest free blocks of the window.
    @Test func opaque() throws {
        let session = try IOASSession(features: .all, iovas: .opaque(window: 0x1_0000...0x1_7fff))
        let file = try IOASFile(size: 0x8000)
        let id = try session.allocate()
        #expect(try session.map(id, file) == 0x1_0000)
        #expect(try session.map(id, file, length: 0x1001) == 0x1_1000)
        #expect(try session.map(id, file, length: 1) == 0x1_3000)
        try session.map(id, file, at: 0x1_5000)
        #expect(try session.map(id, file, length: 0x1000) == 0x1_4000)
        #expect(try mapError(session, file, length: 0x2001) == .noSpace)
        #expect(try session.map(id, nil, length: 0x1800) == 0x1_6000)
        #expect(try mapError(session, file, length: 1) == .noSpace)
        try session.unmap(id, 0x1_1000, 0x1001)
        #expect(try session.map(id, file, length: 0x2000) == 0x1_1000)
        // Another address space has its own.
        #expect(try session.map(try session.allocate(), file) == 0x1_0000)
    }

    /// The server's own addresses, unless something else is there already.
    @Test func serverAddress() throws {
        let session = try IOASSession(features: .all, iovas: .serverAddress)
        let file = try IOASFile(size: 0x10000)
        let id = try session.allocate()
        try session.attach(id)
        let iova = try session.map(id, file, length: 0x3000, offset: 0x2100)
        func local(_ address: UInt64) throws -> UInt64 {
            let entry = try #require(try session.translate(address).get().first)
            return unsafe UInt64(UInt(bitPattern: try session.server.translator.localAddress(of: entry)))
        }
        #expect(try local(iova) == iova)
        // A great range all round: the next mapping has to go far away.
        try session.unmap(id, iova, 0x3000)
        try session.map(id, nil, at: iova & ~0x3fff_ffff - (1 << 32), length: 1 << 34)
        let far = try session.map(id, file, length: 0x3000, offset: 0x2100)
        #expect(try local(far) == far && far % 4096 == 0x100)
        #expect(file.mappings() == [0x4000])
        // Memory without an address here goes into the window.
        #expect(try session.map(id, nil) == 0x1000)
        try session.unmapAll(id)
        #expect(file.mappings().isEmpty)
    }

    @Test func unmapErrors() throws {
        let session = try IOASSession(features: .all)
        let file = try IOASFile(size: 0x8000)
        let id = try session.allocate()
        try session.map(id, file, at: 0x1000, length: 0x2000)
        try session.map(id, file, at: 0x3000, length: 0x1000)
        try session.map(id, file, at: 0x8000, length: 0x1000)
        #expect(try unmapError(session, 0x1000, 0) == .invalidArgument)
        for (iova, length) in [
            (0x1000, 0x1000), (0x1000, 0x1fff), (0x1001, 0x1fff), (0x2000, 0x2000), (0, 0x1001),
            (0x4000, 0x4000), (0x4000, 0x4001), (0x9000, 0x1000), (0, 1), (0x8fff, 1),
        ] as [(UInt64, UInt64)] {
            #expect(try unmapError(session, iova, length) == .noSuchFileOrDirectory)
        }
        #expect(try unmapError(session, 1, 0, flags: .all) == .invalidArgument)
        #expect(try unmapError(session, 0, 1, flags: .all) == .invalidArgument)
        #expect(try unmapError(session, 0, .max, flags: .all) == .invalidArgument)
        #expect(session.server.spaces.count == 3)
        #expect(try unmapError(session, 0, 0x4000) == nil)
        #expect(session.server.spaces.count == 1)
        #expect(try unmapError(session, 0, .max) == nil)
        #expect(session.server.spaces.count == 0)
        #expect(try unmapError(session, 0, 0, flags: .all) == nil)
        #expect(try unmapError(session, 0, .max) == nil)
        #expect(try unmapError(session, 0x1000, 0x2000) == .noSuchFileOrDirectory)
    }

    /// The copy shares file and mmap, and outlives what it was made of.
    @Test func copies() throws {
        let session = try IOASSession(features: .all)
        let file = try IOASFile(size: 0x10000)
        try file.fill([1, 2, 3, 4], at: 0x5800)
        let (one, two) = (try session.allocate(), try session.allocate())
        try session.map(one, file, at: 0x10000, length: 0x10000, userVA: 0x7000_0000)
        let iova = try session.copy(one, 0x15800, 0x1000, to: two, rights: .readable)
        #expect(iova == 0x1800)
        #expect(file.mappings().count == 1 && file.descriptorCount() == 2)
        try session.destroy(one)
        #expect(file.mappings().count == 1 && file.descriptorCount() == 2)
        try session.attach(two)
        #expect(try session.peek(iova, 4) == [1, 2, 3, 4])
        #expect(session.server.dmaRegion(at: iova, size: 0x1000)?.userAddress == 0x7000_5800)
        #expect(session.translationError(iova, 1, .write) == .permissionDenied)
        try session.unmap(two, iova, 0x1000)
        #expect(file.mappings().isEmpty && file.descriptorCount() == 1)
    }

    @Test func copyErrors() throws {
        let session = try IOASSession(features: .all, limit: 4)
        let file = try IOASFile(size: 0x4000)
        let (one, two) = (try session.allocate(), try session.allocate())
        try session.map(one, file, at: 0x1000, length: 0x1000, rights: .readable)
        try session.map(one, file, at: 0x2000, length: 0x1000)
        try session.map(two, file, at: 0x8000, length: 0x1000)
        func error(
            _ iova: UInt64, _ length: UInt64, flags: IOASMapFlags = .readable, from: UInt32 = 1,
            to: UInt32 = 2, at target: UInt64 = 0
        ) throws -> Errno? {
            try session.error(
                of: .ioasCopy,
                IOASCopy(
                    sourceID: from, destinationID: to, flags: flags, sourceIOVA: iova,
                    destinationIOVA: target, length: length))
        }
        #expect(try error(0x1000, 0x1000, flags: []) == .invalidArgument)
        #expect(try error(0x1000, 0) == .invalidArgument)
        #expect(try error(0x1000, 0, from: 5) == .noSuchFileOrDirectory)
        #expect(try error(0x1800, 0x1000) == .noSuchFileOrDirectory)
        #expect(try error(0xfff, 2) == .noSuchFileOrDirectory)
        #expect(try error(0x3000, 1) == .noSuchFileOrDirectory)
        #expect(try error(0x1000, 0x1000, flags: .writeable) == .notPermitted)
        #expect(try error(0x1000, 0x1000, flags: [.readable, .writeable]) == .notPermitted)
        #expect(
            try error(0x1000, 0x1000, flags: [.readable, .fixedIOVA], at: 0x8800) == .fileExists)
        #expect(try error(0x1000, 0x1000, flags: [.writeable, .fixedIOVA], at: 0x8800) == .notPermitted)
        #expect(try error(0x1000, 0x1000) == nil)
        #expect(try error(0x1000, 0x1000) == .noSpace)
    }

    /// COPY of 1 GiB makes no mmap.
    @Test func largeCopy() throws {
        let session = try IOASSession(features: .all)
        let file = try IOASFile(size: 1 << 30)
        let (one, two) = (try session.allocate(), try session.allocate())
        let iova = try session.map(one, file, length: 1 << 30)
        for _ in 0..<20 { try session.copy(one, iova, 1 << 30, to: two) }
        #expect(file.mappings() == [1 << 30] && file.descriptorCount() == 2)
    }

    /// Section 7.4.
    @Test func pagesAndHugePages() throws {
        let session = try IOASSession(features: .all)
        let id = try session.allocate()
        for round in 0..<20 {
            let file = try IOASFile(size: 1 << 20)
            let offset = UInt64(round * 401)
            let iova = try session.map(id, file, length: 70_000, offset: offset)
            #expect(iova % 4096 == offset % 4096)
            #expect(file.mappings().allSatisfy { $0 % 4096 == 0 } && file.mappings().count == 1)
            try session.unmap(id, iova, 70_000)
            #expect(file.mappings().isEmpty)
        }
        // Where the machine has huge pages to spare.
        guard let huge = try? IOASFile(size: 4 << 20, hugePages: true) else { return }
        guard let iova = try? session.map(id, huge, length: 5000, offset: 12_345) else { return }
        #expect(iova % (2 << 20) == 12_345)
        #expect(huge.mappings() == [2 << 20])
        try session.unmap(id, iova, 5000)
        #expect(huge.mappings().isEmpty)
    }

    /// Section 7.5.
    @Test func cycles() throws {
        let session = try IOASSession(features: .all)
        let file = try IOASFile(size: 8192)
        let id = try session.allocate()
        try session.attach(id)
        for _ in 0..<10_000 {
            let iova = try session.map(id, file, length: 5000, offset: 33)
            try session.unmap(id, iova, 5000)
        }
        #expect(file.mappings().isEmpty && file.descriptorCount() == 1)
        let map = encoded(
            ioas: VFIOUserWire.IOASMap(ioasID: id, flags: .readable, length: 8193))
        for _ in 0..<10_000 {
            #expect(try session.call(.ioasMap, map, [file.number]).error == .invalidArgument)
        }
        #expect(file.mappings().isEmpty && file.descriptorCount() == 1)
        #expect(session.server.spaces.count == 0)
    }

    @Test func limits() throws {
        let session = try IOASSession(features: .all, limit: 5)
        for _ in 0..<64 { _ = try session.allocate() }
        #expect(try session.error(of: .ioasAlloc, IOASAlloc()) == .noSpace)
        for id in 1...5 as ClosedRange<UInt32> { try session.map(id, nil) }
        let map = VFIOUserWire.IOASMap(ioasID: 9, flags: .readable, length: 1)
        #expect(try session.error(of: .ioasMap, map) == .noSpace)
        try session.destroy(3)
        #expect(try session.error(of: .ioasMap, map) == nil)
        // A failed one uses no id, a destroyed one frees none.
        #expect(try session.allocate() == 65)
    }
}
