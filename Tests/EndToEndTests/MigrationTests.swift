import Glibc
import SystemPackage
import Testing
import VFIOUserClient
import VFIOUserServer

/// A device moves from one server to another while it works, by this client.
struct MigrationTests {
    typealias Register = WanderingDevice.Register

    private static let page = 4096
    private static let base: UInt64 = 0x8000_0000
    private static let size = 2 << 20

    /// A server with its client, and the memory of a virtual machine.
    private final class Machine {
        let host: Host
        let client: Client
        let memory: DMAMemory

        init(_ link: Link, ioas: Bool) throws {
            let device = WanderingDevice()
            host = try Host(device, link, work: device.work, configure: device.configure)
            memory = try DMAMemory(count: MigrationTests.size)
            client = try host.connect(ioas ? .ioas(.fixedIOVA) : .patient)
            // In two mappings, the second not by mmap where that can be said.
            let half = MigrationTests.size / 2
            if ioas {
                let space = try client.allocateIOAS()
                try client.attach(space)
                try client.map(memory, into: space, at: MigrationTests.base, range: 0..<half)
                try client.map(
                    memory, into: space, at: MigrationTests.base + UInt64(half), range: half..<half * 2)
            } else {
                try client.map(memory, at: MigrationTests.base, range: 0..<half)
                try client.map(
                    memory, at: MigrationTests.base + UInt64(half), range: half..<half * 2, mode: .fileIO)
            }
        }

        func end() {
            client.close()
            host.end()
        }

        var steps: UInt64 { get throws { try client.read(.bar0, at: Register.steps) } }

        func waitForSteps(_ count: UInt64) throws {
            let deadline = ContinuousClock.now + .seconds(30)
            while try steps < count {
                guard ContinuousClock.now < deadline else { throw Errno.timedOut }
                usleep(500)
            }
        }

        /// Pages written since the last call, by number.
        func dirtyPages() throws -> [Int] {
            let half = MigrationTests.size / 2
            var pages: [Int] = []
            for part in 0..<2 {
                let bitmap = try client.dirtyPages(
                    MigrationTests.base + UInt64(part * half), size: UInt64(half),
                    pageSize: UInt64(MigrationTests.page))
                pages += bitmap.dirtyPages.map { Int($0) + part * half / MigrationTests.page }
            }
            return pages
        }

        func copyPages(_ pages: some Sequence<Int>, to other: Machine) throws {
            for page in pages {
                let bytes = try memory.read(at: page * MigrationTests.page, count: MigrationTests.page)
                try other.memory.write(bytes, at: page * MigrationTests.page)
            }
        }

        var bytes: [UInt8] { get throws { try memory.read(at: 0, count: memory.count) } }
    }

    @Test(arguments: Link.allCases, [false, true]) func moves(_ link: Link, _ ioas: Bool) throws {
        let seed = UInt64.random(in: 0 ... .max)
        let source = try Machine(link, ioas: ioas)
        defer { source.end() }
        let target = try Machine(link, ioas: ioas)
        defer { target.end() }
        #expect(try source.client.migrationSupport().isSuperset(of: [.stopCopy, .preCopy]))
        #expect(source.client.server.migrationPageSize == 4096)
        try target.client.setMigrationState(.resuming)

        try source.client.write(seed, to: .bar0, at: Register.seed)
        try source.client.write(Self.base, to: .bar0, at: Register.base)
        try source.client.write(UInt64(Self.size), to: .bar0, at: Register.size)
        try source.client.write(UInt64.max, to: .bar0, at: Register.limit)
        try source.waitForSteps(500)

        // While it works: all memory once, then what it has written meanwhile.
        try source.client.startDMALogging(
            pageSize: UInt64(Self.page), ranges: [(iova: Self.base, size: UInt64(Self.size))])
        try source.client.setMigrationState(.preCopy)
        #expect(try source.client.migrationState() == .preCopy)
        try source.copyPages(0..<Self.size / Self.page, to: target)
        var stream: [UInt8] = []
        for _ in 0..<4 {
            try source.waitForSteps(source.steps + 500)
            let pages = try source.dirtyPages()
            #expect(pages.count > 10, "seed \(seed)")
            try source.copyPages(pages, to: target)
            for _ in 0..<3 { stream += try source.client.readMigrationData(upTo: 1000) }
        }
        try source.waitForSteps(source.steps + 500)

        // Stopped: the rest.
        try source.client.setMigrationState(.stopCopy)
        #expect(try target.bytes != source.bytes, "seed \(seed)")
        try source.copyPages(source.dirtyPages(), to: target)
        while true {
            let piece = try source.client.readMigrationData(upTo: 777)
            if piece.isEmpty { break }
            stream += piece
        }
        let atStop = try source.bytes
        #expect(try source.dirtyPages().isEmpty)
        #expect(try target.bytes == atStop, "seed \(seed)")

        // The other one takes over, from pieces of another size, and goes on as the first would have.
        for start in stride(from: 0, to: stream.count, by: 3001) {
            try target.client.writeMigrationData(Array(stream[start..<min(stream.count, start + 3001)]))
        }
        try target.client.setMigrationState(.running)
        try #require(stream.count % Wanderer.recordCount == 0)
        var model = Wanderer(record: stream.suffix(Wanderer.recordCount))
        #expect(model.steps >= 3000)
        #expect(try target.steps == model.steps)
        try target.client.write(model.steps + 1000, to: .bar0, at: Register.limit)
        var memory = atStop
        for _ in 0..<1000 {
            try model.step { (offset, count) in
                Array(memory[offset..<offset + count])
            } store: { (offset, bytes) in
                memory.replaceSubrange(offset..<offset + bytes.count, with: bytes)
            }
        }
        try target.waitForSteps(model.steps)
        #expect(try target.bytes == memory, "seed \(seed)")
        #expect(memory != atStop)

        // To the last bit of its own state; the first one has done nothing since.
        try target.client.setMigrationState(.stopCopy)
        #expect(
            try Wanderer(record: target.client.readMigrationData(upTo: 1 << 20)[...]) == model, "seed \(seed)"
        )
        #expect(try source.bytes == atStop)
    }

    @Test func aPartOfAStateIsRefused() throws {
        let target = try Machine(.path, ioas: false)
        defer { target.end() }
        try target.client.setMigrationState(.resuming)
        try target.client.writeMigrationData(.pattern(Wanderer.recordCount - 1))
        #expect(throws: Errno.invalidArgument) { try target.client.setMigrationState(.running) }
        try target.client.writeMigrationData([1])
        try target.client.setMigrationState(.running)
        #expect(try target.client.migrationState() == .running)
    }

    /// Logging without migration: each page once, also by unmapping.
    @Test func dirtyPages() throws {
        let device = try EngineDevice()
        let host = try Host(MigratableEngine(device)) { server in
            try device.configure(server)
            try server.enableMigration()
        }
        try withClient(of: host) { client in
            let memory = try DMAMemory(count: 0x20000)
            try client.map(memory, at: 0x100000)
            #expect(try client.deviceWrite([1], 0x100000) == nil)
            try client.startDMALogging(pageSize: 4096)
            func pages() throws -> [UInt64] {
                try client.dirtyPages(0x100000, size: 0x20000, pageSize: 4096).dirtyPages
            }
            #expect(try pages().isEmpty)
            #expect(try client.deviceWrite([1, 2], 0x103fff) == nil)
            #expect(try client.deviceWrite([UInt8](repeating: 1, count: 0x2000), 0x110000) == nil)
            // Reading does not count.
            _ = try client.deviceView(0x108000, 16)
            #expect(try pages() == [3, 4, 16, 17])
            #expect(try pages().isEmpty)
            #expect(try client.deviceWrite([1], 0x11f000) == nil)
            #expect(try client.supports(.loggingReport, .get))
            #expect(
                try client.unmapReportingDirty(0x100000, size: 0x20000, pageSize: 4096).dirtyPages == [31])
            try client.stopDMALogging()
        }
    }

    /// The engine, with nothing to move.
    private final class MigratableEngine: MigratableDevice {
        private let engine: EngineDevice
        init(_ engine: EngineDevice) { self.engine = engine }

        func read(
            _ region: RegionIndex, at offset: UInt64, into data: inout MutableRawSpan,
            on server: DeviceServer
        ) throws(Errno) { try engine.read(region, at: offset, into: &data, on: server) }

        func write(
            _ region: RegionIndex, at offset: UInt64, from data: RawSpan, on server: DeviceServer
        ) throws(Errno) { try engine.write(region, at: offset, from: data, on: server) }

        func enter(_ state: MigrationState, on server: DeviceServer) throws(Errno) {}
        func saveState(into data: inout OutputRawSpan, on server: DeviceServer) throws(Errno) {}
        func restoreState(from data: RawSpan, on server: DeviceServer) throws(Errno) {}
    }
}
