import SystemPackage
import Testing
import VFIOUserAddressSpace
import VFIOUserWire

@testable import VFIOUserServer

/// Requests and replies byte by byte, and the errors of malformed requests.
@Suite struct IOASFormatTests {
    /// Section 7.8: for a client that offered `supported` alone.
    @Test func baselineReplies() throws {
        let session = try IOASSession(features: [])
        let file = try IOASFile(size: 8192)
        func payload(_ command: Command, _ words: [UInt32], _ fds: [CInt] = []) throws -> [UInt32] {
            let reply = try session.call(command, words.flatMap { Self.bytes($0) }, fds)
            #expect(reply.error == nil)
            #expect(reply.header.flags == .reply)
            #expect(reply.header.size == 16 + UInt32(reply.payload.count))
            return Self.words(reply.payload)
        }
        #expect(try payload(.ioasAlloc, [16, 0, 99, 0]) == [16, 0, 1, 0])
        #expect(try payload(.ioasAlloc, [16, 0, 0, 0]) == [16, 0, 2, 0])
        #expect(try payload(.bind, [16, 0, 77, 88]) == [16, 0, 77, 1])
        #expect(
            try payload(.ioasMap, [48, 3, 1, 0, 0xdead, 0xbeef, 4096, 0, 5, 6, 4096, 0], [file.number])
                == [48, 3, 1, 0, 0xdead, 0xbeef, 4096, 0, 4096, 0, 4096, 0])
        #expect(try payload(.attachPT, [16, 0, 1, 0]) == [])
        #expect(try payload(.attachPT, [16, 0, 1, 0]) == [])
        #expect(try payload(.ioasUnmap, [32, 0, 1, 0, 4096, 0, 4096, 0]) == [])
        #expect(try payload(.ioasUnmap, [32, 1, 1, 0, 0, 0, 0, 0]) == [])
        #expect(try payload(.detachPT, [16, 0, 0, 0]) == [])
        #expect(try payload(.ioasDestroy, [16, 0, 2, 0]) == [])
        // A larger argsz is fine, and so are zeros behind the struct; the reply's argsz is its own.
        #expect(try payload(.ioasAlloc, [4096, 0, 0, 0, 0, 0, 0]) == [16, 0, 3, 0])
    }

    @Test func featureReplies() throws {
        let session = try IOASSession(features: .all)
        let file = try IOASFile(size: 8192)
        func payload(_ command: Command, _ words: [UInt32], _ fds: [CInt] = []) throws -> [UInt32] {
            let reply = try session.call(command, words.flatMap { Self.bytes($0) }, fds)
            #expect(reply.error == nil)
            return Self.words(reply.payload)
        }
        _ = try payload(.ioasAlloc, [16, 0, 0, 0])
        #expect(
            try payload(.ioasMap, [64, 7, 1, 0, 0, 0, 4096, 0, 0x9000, 1, 4096, 0], [file.number])
                == [48, 7, 1, 0, 0, 0, 4096, 0, 0x9000, 1, 4096, 0])
        #expect(
            try payload(.ioasCopy, [40, 2, 1, 1, 0x9000, 1, 0xbad, 0, 2048, 0])
                == [40, 2, 1, 1, 0x9000, 1, 4096, 0, 2048, 0])
        #expect(try payload(.attachPT, [64, 0, 1, 0]) == [16, 0, 1, 0])
        #expect(
            try payload(.ioasUnmap, [48, 0, 1, 0, 0, 0, 0x8000, 0]) == [32, 0, 1, 0, 0, 0, 2048, 0])
        #expect(try payload(.ioasUnmap, [32, 1, 1, 0, 0, 0, 0, 0]) == [32, 1, 1, 0, 0, 0, 4096, 0])
        #expect(try payload(.ioasUnmap, [32, 1, 1, 0, 0, 0, 0, 0]) == [32, 1, 1, 0, 0, 0, 0, 0])
        #expect(
            try payload(.ioasUnmap, [32, 0, 1, 0, 0, 0, UInt32.max, UInt32.max])
                == [32, 0, 1, 0, 0, 0, 0, 0])
        #expect(try payload(.detachPT, [16, 0, 0, 0]) == [])
        let rest: [UInt32] = [0, 0, UInt32.max, UInt32.max]
        #expect(try payload(.iovaRanges, [24, 0, 1, 5, 6, 7]) == [40, 0, 1, 1, 1, 0])
        #expect(try payload(.iovaRanges, [39, 0, 1, 0, 0, 0]) == [40, 0, 1, 1, 1, 0])
        #expect(try payload(.iovaRanges, [40, 0, 1, 0, 0, 0]) == [40, 0, 1, 1, 1, 0] + rest)
        #expect(try payload(.compatIOAS, [16, 0, 1, 1]) == [16, 0, 1, 1])
        #expect(try payload(.compatIOAS, [20, 0, 0, 99]) == [16, 0, 0, 1])
        #expect(try payload(.compatIOAS, [16, 0, 2, 99]) == [16, 0, 2, 99])
        #expect(try payload(.compatIOAS, [16, 0, 2, 0]) == [16, 0, 2, 0])
    }

    /// A good request of each command, in a session with two address spaces, a mapping and one attached.
    struct Sample: Sendable, CustomTestStringConvertible {
        let command: Command
        let words: [UInt32]
        var needsFile = false
        /// Places of reserved words.
        var reserved: [Int] = []
        /// Bits of the flags that have a meaning.
        var knownFlags: UInt32 = 0
        /// Places of the ids of address spaces.
        var ids: [Int] = []
        var feature: IOASFeatures = []
        var testDescription: String { "\(command)" }
    }

    static let samples = [
        Sample(command: .ioasAlloc, words: [16, 0, 0, 0], reserved: [3]),
        Sample(command: .ioasDestroy, words: [16, 0, 2, 0], reserved: [3], ids: [2]),
        Sample(
            command: .ioasMap, words: [48, 3, 1, 0, 0, 0, 4096, 0, 0, 0, 0, 0], needsFile: true,
            reserved: [3], knownFlags: 7, ids: [2]),
        Sample(
            command: .ioasUnmap, words: [32, 0, 1, 0, 0x8000, 0, 4096, 0], reserved: [3], knownFlags: 1,
            ids: [2]),
        Sample(
            command: .ioasCopy, words: [40, 3, 1, 2, 0x8000, 0, 0, 0, 4096, 0], knownFlags: 7, ids: [2, 3],
            feature: .copy),
        Sample(command: .bind, words: [16, 0, 0, 0]),
        Sample(command: .attachPT, words: [16, 0, 2, 0], reserved: [3], knownFlags: 1, ids: [2]),
        Sample(command: .detachPT, words: [16, 0, 0, 0], reserved: [2, 3], knownFlags: 1),
        Sample(command: .iovaRanges, words: [40, 0, 1, 0, 0, 0], ids: [2], feature: .iovaRanges),
        Sample(command: .compatIOAS, words: [16, 0, 1, 2], ids: [3], feature: .compatIOAS),
    ]

    private final class Bench {
        let session: IOASSession
        let file: IOASFile
        let sample: Sample

        init(_ sample: Sample, _ features: IOASFeatures) throws {
            self.sample = sample
            session = try IOASSession(features: features)
            file = try IOASFile(size: 8192)
            for _ in 0..<2 { _ = try session.allocate() }
            if features.contains(.fixedIOVA) { try session.map(1, file, at: 0x8000) }
            try session.attach(1)
            session.device.events = []
        }

        /// The errno of a request made of words, and whether it changed nothing and left no descriptor open.
        func error(_ words: [UInt32], bytes: Int? = nil, files: Int? = nil) throws -> Errno? {
            var payload = words.flatMap { IOASFormatTests.bytes($0) }
            if let bytes { payload = Array(payload.prefix(bytes)) }
            let before = state()
            let fds = [CInt](repeating: file.number, count: files ?? (sample.needsFile ? 1 : 0))
            let error = try session.call(sample.command, payload, fds).error
            if error != nil { #expect(state() == before) }
            return error
        }

        private struct State: Equatable {
            let mappings: Int
            let ids: [UInt32]
            let attached: UInt32?
            let compatibility: UInt32?
            let descriptors: Int
            let maps: Int
            let events: [IOASDevice.Event]
        }

        private func state() -> State {
            let spaces = session.server.spaces
            return State(
                mappings: spaces.count, ids: spaces.ids, attached: spaces.attachedID,
                compatibility: spaces.compatibilityID, descriptors: file.descriptorCount(),
                maps: file.mappings().count, events: session.device.takeEvents().filter { $0 != .quiesce })
        }
    }

    /// Section 7.7.
    @Test(arguments: samples)
    func malformedRequests(_ sample: Sample) throws {
        let bench = try Bench(sample, .all)
        let good = sample.words
        let size = good.count * 4
        for count in 1..<size { #expect(try bench.error(good, bytes: count) == .invalidArgument) }
        for argsz in [0, 1, 15, UInt32(size == 16 ? 15 : 16), good[0] > 24 ? 23 : 15] {
            #expect(try bench.error([argsz] + good.dropFirst()) == .invalidArgument)
        }
        for excess in [[1], [0, 1], [0, 0, 0x8000_0000]] as [[UInt32]] {
            #expect(try bench.error(good + excess) == .argListTooLong)
            // The payload's length is judged first.
            #expect(try bench.error([0] + good.dropFirst() + excess) == .argListTooLong)
        }
        for bit in 0..<32 where sample.knownFlags & 1 << bit == 0 {
            var words = good
            words[1] |= 1 << bit
            #expect(try bench.error(words) == .invalidArgument)
        }
        for place in sample.reserved {
            var words = good
            words[place] = 0x100
            #expect(try bench.error(words) == .invalidArgument)
        }
        for place in sample.ids {
            for id in [0, 3, 77, UInt32.max] as [UInt32] {
                var words = good
                words[place] = id
                #expect(try bench.error(words) == .noSuchFileOrDirectory)
            }
        }
        for count in [sample.needsFile ? 2 : 1, 3, 8] {
            #expect(try bench.error(good, files: count) == .invalidArgument)
        }
        // After all that it still works, with zeros behind it and more room than needed.
        let larger: [UInt32] = [good[0] + 1000] + good.dropFirst() + [0, 0, 0]
        #expect(try bench.error(larger) == nil)
    }

    /// Features that were not granted.
    @Test(arguments: samples)
    func notGranted(_ sample: Sample) throws {
        guard !sample.feature.isEmpty else { return }
        let bench = try Bench(sample, IOASFeatures.all.subtracting(sample.feature))
        #expect(try bench.error(sample.words) == .notSupported)
        // After the struct's size, before everything else.
        #expect(try bench.error(sample.words, bytes: 15) == .invalidArgument)
        #expect(try bench.error([1] + sample.words.dropFirst()) == .invalidArgument)
        #expect(try bench.error([sample.words[0], 0x80] + sample.words.dropFirst(2)) == .notSupported)
        #expect(try bench.error(sample.words, files: 2) == .notSupported)
    }

    @Test func flagsNotGranted() throws {
        let session = try IOASSession(features: .copy)
        let file = try IOASFile(size: 4096)
        let id = try session.allocate()
        let iova = try session.map(id, file)
        for flags in [5, 7] as [UInt32] {
            let map = VFIOUserWire.IOASMap(
                ioasID: id, flags: IOASMapFlags(rawValue: flags), length: 4096, iova: 0x9000)
            #expect(try session.error(of: .ioasMap, map, [file.number]) == .notSupported)
            let copy = IOASCopy(
                sourceID: id, destinationID: id, flags: IOASMapFlags(rawValue: flags), sourceIOVA: iova,
                destinationIOVA: 0x9000, length: 4096)
            #expect(try session.error(of: .ioasCopy, copy) == .notSupported)
        }
        // Granted by nobody.
        var attach = AttachPT(ioasID: id)
        attach.flags = .pasid
        attach.pasid = 3
        #expect(try session.error(of: .attachPT, attach) == .notSupported)
        var detach = DetachPT()
        detach.flags = .pasid
        #expect(try session.error(of: .detachPT, detach) == .notSupported)
        #expect(file.descriptorCount() == 2)
    }

    /// Descriptors that are missing, or too many.
    @Test func descriptors() throws {
        let session = try IOASSession(features: [])
        let file = try IOASFile(size: 4096)
        let id = try session.allocate()
        let map = VFIOUserWire.IOASMap(ioasID: id, flags: [.readable], length: 4096)
        #expect(try session.error(of: .ioasMap, map) == .invalidArgument)
        #expect(try session.error(of: .ioasMap, map, [file.number, file.number]) == .invalidArgument)
        #expect(file.descriptorCount() == 1)
        #expect(try session.error(of: .ioasMap, map, [file.number]) == nil)
    }

    /// Carried out, and answered by nothing.
    @Test func unanswered() throws {
        let session = try IOASSession(features: .all)
        let file = try IOASFile(size: 4096)
        try session.send(.ioasAlloc, encoded(ioas: IOASAlloc()), flags: .noReply)
        let map = VFIOUserWire.IOASMap(
            ioasID: 1, flags: [.readable, .fixedIOVA], length: 4096, iova: 0x5000)
        try session.send(.ioasMap, encoded(ioas: map), [file.number], flags: .noReply)
        try session.send(.attachPT, encoded(ioas: AttachPT(ioasID: 1)), flags: .noReply)
        try session.send(.ioasDestroy, encoded(ioas: IOASDestroy(ioasID: 1)), flags: .noReply)
        try session.send(.ioasDestroy, encoded(ioas: IOASDestroy(ioasID: 9)), flags: .noReply)
        _ = try session.server.poll()
        while (try? session.server.poll()) ?? 0 > 0 {}
        #expect(session.isSilent)
        #expect(
            session.server.lastRequestError == nil
                || session.server.lastRequestError == .noSuchFileOrDirectory)
        #expect(session.sees(0x5000))
        #expect(try session.allocate() == 2)
    }

    static func bytes(_ word: UInt32) -> [UInt8] {
        (0..<4).map { UInt8(truncatingIfNeeded: word >> ($0 * 8)) }
    }

    static func words(_ bytes: [UInt8]) -> [UInt32] {
        stride(from: 0, to: bytes.count, by: 4).map { place in
            bytes[place..<place + 4].reversed().reduce(0) { $0 << 8 | UInt32($1) }
        }
    }
}
