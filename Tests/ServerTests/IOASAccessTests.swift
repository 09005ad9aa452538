import SystemPackage
import Testing
import VFIOUserAddressSpace
import VFIOUserWire

@testable import VFIOUserServer

/// How the device uses memory of an address space.
@Suite struct IOASAccessTests {
    /// Section 7.2: translation within and across mappings, local addresses, copies, rights.
    @Test func scatterGather() throws {
        let session = try IOASSession(features: .all)
        let file = try IOASFile(size: 0x10000)
        let id = try session.allocate()
        try session.attach(id)
        try session.map(id, file, at: 0x4000, length: 0x1000, offset: 0x3000)
        try session.map(id, file, at: 0x5000, length: 0x2000, offset: 0x8000)
        try session.map(id, file, at: 0x7000, length: 0x1000, rights: .readable)
        try session.map(id, file, at: 0x8000, length: 0x1000, rights: .writeable)
        let translator = session.server.translator
        let entries = try session.translate(0x4800, 0x2000, [.read, .write]).get()
        #expect(entries.map(\.base) == [0x4000, 0x5000])
        #expect(entries.map(\.offset) == [0x800, 0])
        #expect(entries.map(\.length) == [0x800, 0x1800])
        #expect(entries.allSatisfy { $0.isWriteable && translator.isMappable($0) })
        // The two pieces are not neighbours in the file.
        let data = (0..<0x2000).map { UInt8(truncatingIfNeeded: $0 / 3) }
        try session.poke(0x4800, data)
        #expect(file.bytes(0x800, at: 0x3800) == Array(data.prefix(0x800)))
        #expect(file.bytes(0x1800, at: 0x8000) == Array(data.dropFirst(0x800)))
        #expect(try session.peek(0x4800, 0x2000) == data)
        let local = try unsafe translator.localAddress(of: entries[1])
        #expect(unsafe local.load(as: UInt8.self) == data[0x800])
        // Each translation is judged by the rights of all it touches.
        #expect(session.translationError(0x7000, 1, .write) == .permissionDenied)
        #expect(session.translationError(0x8000, 1, .read) == .permissionDenied)
        #expect(session.translationError(0x6000, 0x1001, .write) == .permissionDenied)
        #expect(session.translationError(0x7000, 0x1001, .read) == .permissionDenied)
        #expect(session.translationError(0x7000, 1, []) == nil)
        #expect(session.translationError(0x8fff, 2, .write) == .noSuchFileOrDirectory)
        #expect(session.translationError(0x3fff, 2) == .noSuchFileOrDirectory)
    }

    /// An IOVA that is a good pointer of this process is nothing unless it is mapped.
    @Test func pointersAreNoIOVAs() throws {
        let session = try IOASSession(features: .all, iovas: .serverAddress)
        let file = try IOASFile(size: 0x4000)
        let id = try session.allocate()
        try session.attach(id)
        let iova = try session.map(id, file, length: 100, offset: 0x1100)
        #expect(session.sees(iova, 100))
        // The whole block is mapped here, but not there.
        #expect(session.translationError(iova - 1) == .noSuchFileOrDirectory)
        #expect(session.translationError(iova + 100) == .noSuchFileOrDirectory)
        var here: UInt64 = 0
        let place = unsafe withUnsafePointer(to: &here) { UInt64(UInt(bitPattern: $0)) }
        #expect(session.translationError(place) == .noSuchFileOrDirectory)
    }

    /// Without a descriptor the client is asked.
    @Test func byMessage() throws {
        let session = try IOASSession(features: [.messageDMA, .fixedIOVA])
        let id = try session.allocate()
        try session.map(id, nil, at: 0x9000, length: 0x1000)
        try session.attach(id)
        let entry = try #require(try session.translate(0x9010, 4, .write).get().first)
        #expect(!session.server.translator.isMappable(entry))
        #expect(throws: Errno.badAddress) {
            _ = try unsafe session.server.translator.localAddress(of: entry)
        }
        func answer(_ command: Command, _ data: [UInt8]) throws {
            let access = DMAAccess(address: 0x9010, count: 4)
            var header = MessageHeader(
                id: session.server.nextCommandID, command: command, payloadByteCount: 16 + data.count)
            header.flags = .reply
            try session.transmit(header, encoded(ioas: access) + data)
        }
        try answer(.dmaRead, [9, 8, 7, 6])
        #expect(try session.peek(0x9010, 4) == [9, 8, 7, 6])
        let asked = try session.receive()
        #expect(asked.header.command == Command.dmaRead.rawValue)
        #expect(try asked.decoded(DMAAccess.self) == DMAAccess(address: 0x9010, count: 4))
        try answer(.dmaWrite, [])
        try session.poke(0x9010, [1, 2, 3, 4])
        #expect(try session.receive().payload.suffix(4) == [1, 2, 3, 4])
        // What is not attached is not asked for.
        try session.detach()
        #expect(errno(ioas: { _ = try session.peek(0x9010, 4) }) == .noSuchFileOrDirectory)
        var byte: UInt8 = 0
        #expect(throws: Errno.invalidArgument) {
            try unsafe session.server.read(entry, into: &byte, directly: false)
        }
        #expect(session.isSilent)
    }

    /// Section 7.6: the client shortens its file.
    @Test(arguments: [true, false])
    func guarded(legacy: Bool) throws {
        let session = try IOASSession(features: legacy ? nil : .all) { $0.guardsMemory = true }
        let (file, sealed) = (try IOASFile(size: 0x3000), try IOASFile(size: 0x3000, sealed: true))
        func map(_ file: IOASFile, at iova: UInt64) throws {
            guard legacy else {
                try session.map(1, file, at: iova, length: 0x3000)
                return
            }
            let map = DMAMap(flags: [.read, .write], offset: 0, address: iova, size: 0x3000)
            _ = try session.succeed(.dmaMap, map, [file.number])
        }
        if !legacy {
            _ = try session.allocate()
            try session.attach(1)
        }
        try map(file, at: 0x10000)
        try map(sealed, at: 0x20000)
        for iova in [0x10000, 0x20000] as [UInt64] {
            try session.poke(iova + 0xff0, [UInt8](repeating: 5, count: 32))
            #expect(try session.peek(iova + 0xff0, 32) == [UInt8](repeating: 5, count: 32))
        }
        #expect(file.bytes(32, at: 0xff0) == [UInt8](repeating: 5, count: 32))
        try file.resize(0x1000)
        #expect(errno(ioas: { try sealed.resize(0x1000) }) == .notPermitted)
        for (iova, count) in [(0x11000, 1), (0x12fff, 1), (0x10fff, 2), (0x10000, 0x3000)]
            as [(UInt64, Int)]
        {
            #expect(errno(ioas: { _ = try session.peek(iova, count) }) == .badAddress)
            #expect(
                errno(ioas: { try session.poke(iova, [UInt8](repeating: 1, count: count)) }) == .badAddress)
        }
        #expect(file.size == 0x1000)
        #expect(try session.peek(0x10ff0, 16) == [UInt8](repeating: 5, count: 16))
        #expect(try session.peek(0x20ff0, 16) == [UInt8](repeating: 5, count: 16))
        // The file is back, and so is the memory.
        try file.resize(0x3000)
        try session.poke(0x12fff, [7])
        #expect(file.bytes(1, at: 0x2fff) == [7])
    }

    /// A guarded copy of a mapping is guarded too, and writes need the right descriptor.
    @Test func guardedCopy() throws {
        let session = try IOASSession(features: .all) { $0.guardsMemory = true }
        let file = try IOASFile(size: 0x2000)
        let path = "/proc/self/fd/\(file.number)"
        let readOnly = try unsafe FileDescriptor.open(path, .readOnly)
        let id = try session.allocate()
        let map = VFIOUserWire.IOASMap(ioasID: id, flags: .readable, length: 0x1000)
        _ = try session.succeed(.ioasMap, map, [readOnly.rawValue])
        try readOnly.close()
        try session.map(id, file, at: 0x8000, length: 0x2000)
        try session.copy(id, 0x9000, 0x1000, to: id, at: 0x10000)
        try session.attach(id)
        try session.poke(0x10010, [1, 2, 3])
        #expect(try session.peek(0x9010, 3) == [1, 2, 3])
        try file.resize(0x1000)
        #expect(errno(ioas: { _ = try session.peek(0x10010, 3) }) == .badAddress)
        #expect(errno(ioas: { try session.poke(0x10010, [1]) }) == .badAddress)
        try session.unmapAll(id)
        #expect(file.descriptorCount() == 1)
    }

    @Test(arguments: [true, false])
    func requireSealed(legacy: Bool) throws {
        let session = try IOASSession(features: legacy ? nil : .all) { $0.requiresSealedMemory = true }
        let (file, sealed) = (try IOASFile(size: 0x1000), try IOASFile(size: 0x1000, sealed: true))
        let null = try unsafe FileDescriptor.open("/dev/zero", .readWrite)
        defer { try? null.close() }
        func error(_ number: CInt, offset: UInt64 = 0, size: UInt64 = 0x1000) throws -> Errno? {
            if legacy {
                let map = DMAMap(flags: [.read, .write], offset: offset, address: 0x1000, size: size)
                return try session.error(of: .dmaMap, map, [number])
            }
            let map = VFIOUserWire.IOASMap(ioasID: 1, flags: .readable, length: size, offset: offset)
            return try session.error(of: .ioasMap, map, [number])
        }
        if !legacy { _ = try session.allocate() }
        #expect(try error(file.number) == .notPermitted)
        #expect(try error(null.rawValue) == .notPermitted)
        // It keeps its size, and that is too small.
        #expect(try error(sealed.number, size: 0x1001) == .invalidArgument)
        #expect(try error(sealed.number, offset: 1) == .invalidArgument)
        #expect(try error(sealed.number, size: 1 << 30) == .invalidArgument)
        #expect(file.descriptorCount() == 1 && sealed.descriptorCount() == 1)
        #expect(try error(sealed.number) == nil)
    }

    /// Dirty logging follows what is attached.
    @Test func dirtyLogging() throws {
        let session = try IOASSession(features: .all)
        let file = try IOASFile(size: 0x10000)
        let (one, two) = (try session.allocate(), try session.allocate())
        try session.map(one, file, at: 0x10000, length: 0x10000)
        try session.map(two, file, at: 0x10000, length: 0x10000)
        try session.attach(one)
        let spaces = session.server.spaces
        func dirty() throws -> UInt64 {
            var report = try spaces.report(0x10000, 0x10000, pageSize: 4096)
            return report.next()
        }
        try spaces.startLogging(pageSize: 4096)
        try session.poke(0x11000, [1])
        try session.poke(0x1f000, [1])
        #expect(try dirty() == 0x8002)
        #expect(try dirty() == 0)
        try session.poke(0x12000, [1])
        // What becomes visible starts clean.
        try session.attach(two)
        #expect(try dirty() == 0)
        try session.poke(0x13000, [1])
        #expect(try dirty() == 8)
        try session.poke(0x13000, [1])
        try session.detach()
        #expect(errno(ioas: { _ = try dirty() }) == .noSuchFileOrDirectory)
        #expect(spaces.loggingPageSize == 4096)
        try session.attach(one)
        #expect(try dirty() == 0)
        try session.map(one, file, at: 0x80000, length: 0x10000)
        try session.poke(0x80000, [1])
        var report = try spaces.report(0x80000, 0x10000, pageSize: 4096)
        #expect(report.next() == 1)
        spaces.stopLogging()
    }
}
