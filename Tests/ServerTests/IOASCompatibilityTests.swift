import SystemPackage
import Testing
import VFIOUserAddressSpace
import VFIOUserWire

@testable import VFIOUserServer

/// DMA_MAP and DMA_UNMAP in IOAS mode, and the two modes side by side.
@Suite struct IOASCompatibilityTests {
    func legacyMap(
        _ session: IOASSession, _ file: IOASFile, _ iova: UInt64, _ size: UInt64 = 0x1000,
        offset: UInt64 = 0
    ) throws -> Errno? {
        let map = DMAMap(flags: [.read, .write], offset: offset, address: iova, size: size)
        return try session.error(of: .dmaMap, map, [file.number])
    }

    func legacyUnmap(
        _ session: IOASSession, _ iova: UInt64, _ size: UInt64 = 0x1000
    ) throws -> Errno? {
        try session.error(of: .dmaUnmap, DMAUnmap(address: iova, size: size))
    }

    @Test func notGranted() throws {
        let session = try IOASSession(features: IOASFeatures.all.subtracting(.compatIOAS))
        let file = try IOASFile(size: 0x1000)
        #expect(try legacyMap(session, file, 0x1000) == .notSupported)
        #expect(try legacyUnmap(session, 0x1000) == .notSupported)
        #expect(try session.error(of: .dmaUnmap, DMAUnmap.everything) == .notSupported)
        #expect(file.descriptorCount() == 1)
    }

    /// Neither GET nor SET nor CLEAR: nothing changes.
    @Test func unknownOperations() throws {
        let session = try IOASSession(features: .all)
        let id = try session.allocate()
        _ = try session.succeed(.compatIOAS, CompatIOAS(.set, ioasID: id))
        for operation in [3, 0x80, .max] as [UInt32] {
            let request = bytes(UInt32(16), UInt32(0), operation, id)
            #expect(try session.call(.compatIOAS, request, []).error == .invalidArgument)
        }
        #expect(try session.error(of: .compatIOAS, CompatIOAS(.get)) == nil)
    }

    /// Section 7.10.
    @Test func bothWays() throws {
        let session = try IOASSession(features: .all)
        let file = try IOASFile(size: 0x10000)
        let id = try session.allocate()
        #expect(try legacyMap(session, file, 0x1000) == .operationNotSupportedByDevice)
        #expect(try legacyUnmap(session, 0x1000) == .operationNotSupportedByDevice)
        #expect(
            try session.error(of: .compatIOAS, CompatIOAS(.set, ioasID: 9)) == .noSuchFileOrDirectory)
        _ = try session.succeed(.compatIOAS, CompatIOAS(.set, ioasID: id))
        session.device.events = []
        #expect(try legacyMap(session, file, 0x1000) == nil)
        // Not attached: the device is not told.
        #expect(session.device.takeEvents() == [.quiesce])
        try session.attach(id)
        #expect(session.sees(0x1000))
        try session.map(id, file, at: 0x4000)
        #expect(try legacyUnmap(session, 0x4000) == nil)
        #expect(!session.sees(0x4000))
        try session.unmap(id, 0x1000, 0x1000)
        #expect(!session.sees(0x1000))
        // Legacy rules: the same again is fine, an overlap is not, unmapping is exact.
        session.device.events = []
        #expect(try legacyMap(session, file, 0x8000, 0x2000) == nil)
        #expect(try legacyMap(session, file, 0x8000, 0x2000) == nil)
        #expect(try legacyMap(session, file, 0x8000, 0x1000) == .invalidArgument)
        #expect(try legacyMap(session, file, 0x8000, 0x2000, offset: 0x1000) == .invalidArgument)
        #expect(try legacyUnmap(session, 0x8000, 0x1000) == .noSuchFileOrDirectory)
        #expect(
            session.device.takeEvents().filter { $0 != .quiesce } == [
                .added(0x8000, 0x2000), .added(0x8000, 0x2000),
            ])
        let map = VFIOUserWire.IOASMap(
            ioasID: id, flags: [.readable, .fixedIOVA], length: 0x1000, iova: 0x9000)
        #expect(try session.error(of: .ioasMap, map, [file.number]) == .fileExists)
        #expect(try session.copy(id, 0x8000, 0x2000, to: id) == 0x1000)
        // All of it, of both kinds.
        session.device.events = []
        #expect(try session.error(of: .dmaUnmap, DMAUnmap.everything) == nil)
        #expect(
            session.device.takeEvents() == [.quiesce, .removed(0x1000, 0x2000), .removed(0x8000, 0x2000)])
        #expect(file.mappings().isEmpty)
        _ = try session.succeed(.compatIOAS, CompatIOAS(.clear))
        #expect(try legacyMap(session, file, 0x1000) == .operationNotSupportedByDevice)
        #expect(try session.error(of: .compatIOAS, CompatIOAS(.get)) == .operationNotSupportedByDevice)
        #expect(try session.error(of: .compatIOAS, CompatIOAS(.clear)) == nil)
    }

    /// A space for legacy commands that the device does not see.
    @Test func notAttached() throws {
        let session = try IOASSession(features: .all)
        let file = try IOASFile(size: 0x10000)
        let (one, two) = (try session.allocate(), try session.allocate())
        try session.map(one, file, at: 0x1000)
        try session.attach(one)
        _ = try session.succeed(.compatIOAS, CompatIOAS(.set, ioasID: two))
        session.device.events = []
        #expect(try legacyMap(session, file, 0x1000, 0x2000) == nil)
        #expect(!session.sees(0x2000))
        try session.server.spaces.startLogging(pageSize: 4096)
        let bitmap = DMAUnmap.BitmapRequest(pageSize: 4096, size: 8)
        let unmap = DMAUnmap(address: 0x1000, size: 0x2000, bitmap: bitmap)
        #expect(try session.error(of: .dmaUnmap, unmap) == .invalidArgument)
        #expect(try session.error(of: .dmaUnmap, DMAUnmap.everything) == nil)
        #expect(session.sees(0x1000))
        #expect(session.device.takeEvents().filter { $0 != .quiesce } == [])
        #expect(session.server.spaces.count == 1)
    }

    /// Section 7.9: a device program, run over both modes.
    @Test func sameBytes() throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        let legacy = try transcript(of: try IOASSession(features: nil), seed)
        let ioas = try transcript(of: try IOASSession(features: .all), seed)
        #expect(legacy == ioas, "seed \(seed)")
        #expect(legacy.count == 3000)
    }

    /// What a device finds that reads, writes and translates at random while its client maps and unmaps at
    /// random.
    private func transcript(of session: IOASSession, _ seed: UInt64) throws -> [String] {
        let file = try IOASFile(size: 0x20000)
        let isLegacy = session.server.usesIOAS == false
        if !isLegacy {
            _ = try session.allocate()
            try session.attach(1)
        }
        var state = seed | 1
        func random(_ bound: UInt64) -> UInt64 {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            return (state >> 20) % bound
        }
        var lines: [String] = []
        var mapped: [UInt64: UInt64] = [:]
        func map(_ iova: UInt64, _ length: UInt64, _ offset: UInt64) throws -> Errno? {
            if isLegacy { return try legacyMap(session, file, iova, length, offset: offset) }
            let map = VFIOUserWire.IOASMap(
                ioasID: 1, flags: [.readable, .writeable, .fixedIOVA], length: length, iova: iova,
                offset: offset)
            return try session.error(of: .ioasMap, map, [file.number])
        }
        func unmap(_ iova: UInt64, _ length: UInt64) throws -> Errno? {
            if isLegacy { return try legacyUnmap(session, iova, length) }
            return try session.error(of: .ioasUnmap, IOASUnmap(ioasID: 1, iova: iova, length: length))
        }
        for _ in 0..<3000 {
            let iova = random(64) * 0x800
            switch random(6) {
            case 0:
                let (length, offset) = (0x800 * (1 + random(6)), random(0x10000))
                if mapped.contains(where: { $0.key < iova + length && iova < $0.key + $0.value }) {
                    // Refused in both modes, with different errors.
                    lines.append("taken")
                } else {
                    let error = try map(iova, length, offset)
                    if error == nil { mapped[iova] = length }
                    lines.append("map \(iova) \(length) \(error.debugDescription)")
                }
            case 1:
                if let length = mapped.removeValue(forKey: iova) {
                    lines.append("unmap \(try unmap(iova, length).debugDescription)")
                } else {
                    lines.append("none")
                }
            case 2:
                let entries = session.translate(iova + random(0x900), 1 + random(0x2000), .write)
                switch entries {
                case .success(let entries):
                    lines.append(entries.map { "\($0.address)+\($0.length)" }.joined(separator: " "))
                case .failure(let error): lines.append("\(error)")
                }
            case 3:
                let bytes = (0..<random(0x1000)).map { _ in UInt8(truncatingIfNeeded: random(256)) }
                lines.append("poke \(errno(ioas: { try session.poke(iova, bytes) }).debugDescription)")
            default:
                var bytes: [UInt8] = []
                let (start, count) = (iova + random(0x800), Int(random(0x1800)))
                let error = errno(ioas: { bytes = try session.peek(start, count) })
                lines.append("\(error.debugDescription) \(bytes.hashValue)")
            }
        }
        return lines
    }
}
