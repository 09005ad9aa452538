import Glibc
import SystemPackage
import Testing
import VFIOUserAddressSpace
import VFIOUserWire

@testable import VFIOUserServer

/// A device moves from one server to another while it works, as a virtual machine monitor would move it.
@Suite struct MigrationLiveTests {
    /// Memory of a virtual machine: a mapping by mmap, right behind it one by file.
    private final class Machine {
        static let base: UInt64 = 0x4000_0000
        static let page = 4096
        static let parts = [4 << 20, 1 << 20]
        static let size = parts[0] + parts[1]

        let memory: File
        let device: ScribblingDevice
        let client: MigrationClient
        let guest: ScribbleGuest

        init(seed: UInt64) throws {
            device = ScribblingDevice(seed: seed)
            client = try MigrationClient(device)
            memory = try File.memory(Self.size)
            guest = ScribbleGuest(server: client.server, base: Self.base, size: Self.size)
            var offset = 0
            for (part, flags) in zip(
                Self.parts, [[.read, .write], [.read, .write, .fileIO]] as [DMAMap.Flags])
            {
                let reply = try client.map(
                    Self.base + UInt64(offset), UInt64(part), memory, flags, offset: UInt64(offset))
                #expect(reply.error == nil)
                offset += part
            }
            device.resume()
        }

        /// Does something with the client, after which the device may go on.
        func asking<Result>(_ body: (MigrationClient) throws -> Result) throws -> Result {
            defer { device.resume() }
            return try body(client)
        }

        /// The numbers of the pages written since the last call.
        func dirtyPages() throws -> [Int] {
            var pages: [Int] = []
            var offset = 0
            for part in Self.parts {
                let words = try asking {
                    try $0.bits(Self.base + UInt64(offset), UInt64(part), UInt64(Self.page))
                }
                for bit in 0..<part / Self.page where words[bit / 64] >> UInt64(bit % 64) & 1 == 1 {
                    pages.append(offset / Self.page + bit)
                }
                offset += part
            }
            return pages
        }

        func copyPages(_ pages: some Sequence<Int>, to other: Machine) {
            for page in pages {
                other.memory.put(
                    memory.contents(at: page * Self.page, count: Self.page), at: page * Self.page)
            }
        }

        /// The next piece of the device's state; empty when there is no more.
        func readState(_ size: UInt32) throws -> [UInt8] {
            let reply = try asking { try $0.call(.migDataRead, payload(MigrationData(size: size))) }
            if let error = reply.error { throw error }
            return Array(reply.payload[8..<8 + Int(try reply.decode(MigrationData.self).size)])
        }

        func writeState(_ piece: ArraySlice<UInt8>) throws {
            let reply = try asking {
                try $0.call(
                    .migDataWrite, payload(MigrationData(size: UInt32(piece.count)), then: Array(piece)))
            }
            if let error = reply.error { throw error }
        }

        func setState(_ state: MigrationDeviceState.State) throws {
            if let error = try asking({ try $0.setState(state) }).error { throw error }
        }

        var scribbler: Scribbler { device.shared.withLock { $0.scribbler } }
    }

    @Test func moves() throws {
        let seed = UInt64.random(in: 0 ... .max)
        let source = try Machine(seed: seed)
        let target = try Machine(seed: ~seed)
        target.device.shared.withLock { $0.isRunning = false }

        // The source works on its own thread all the time.
        let (device, guest) = (source.device, source.guest)
        let worker = Background {
            var guest = guest
            while !device.shared.withLock({ $0.isEnding }) {
                if !device.work(20, &guest) { usleep(50) }
            }
        }
        var hasEnded = false
        func endWork() {
            if !hasEnded {
                device.shared.withLock { $0.isEnding = true }
                worker.join()
            }
            hasEnded = true
        }
        defer { endWork() }
        func waitForWork() {
            let steps = device.shared.withLock { $0.scribbler.steps }
            while device.shared.withLock({ $0.scribbler.steps < steps + 200 }) { usleep(100) }
        }

        // While it runs: all memory once, then what has been written meanwhile, and its state in advance.
        waitForWork()
        #expect(try source.asking { try $0.startLogging(UInt64(Machine.page)) }.error == nil)
        try source.setState(.preCopy)
        source.copyPages(0..<Machine.size / Machine.page, to: target)
        var stream: [UInt8] = []
        for _ in 0..<4 {
            waitForWork()
            let pages = try source.dirtyPages()
            #expect(pages.count > 10, "seed \(seed)")
            source.copyPages(pages, to: target)
            for _ in 0..<10 { stream += try source.readState(5000) }
        }
        waitForWork()
        #expect(!stream.isEmpty)

        // Stopped: the rest.
        try source.setState(.stopCopy)
        let atStop = source.scribbler
        let memoryAtStop = source.memory.contents(at: 0, count: Machine.size)
        #expect(target.memory.contents(at: 0, count: Machine.size) != memoryAtStop, "seed \(seed)")
        let lastPages = try source.dirtyPages()
        source.copyPages(lastPages, to: target)
        while true {
            let piece = try source.readState(7777)
            if piece.isEmpty { break }
            stream += piece
        }
        endWork()
        #expect(source.scribbler == atStop)
        #expect(try source.dirtyPages().isEmpty)

        // The other one takes over, from pieces of another size.
        try target.setState(.resuming)
        var rest = stream[...]
        while !rest.isEmpty {
            try target.writeState(rest.prefix(3001))
            rest = rest.dropFirst(3001)
        }
        try target.setState(.running)
        #expect(target.scribbler == atStop, "seed \(seed)")
        #expect(target.memory.contents(at: 0, count: Machine.size) == memoryAtStop, "seed \(seed)")

        // And goes on as the first one would have.
        var model = (device: atStop, memory: ScribbleArray(bytes: memoryAtStop))
        for _ in 0..<1000 { _ = try model.device.step(&model.memory) }
        var there = target.guest
        #expect(target.device.work(1000, &there))
        #expect(target.scribbler == model.device, "seed \(seed)")
        #expect(target.memory.contents(at: 0, count: Machine.size) == model.memory.bytes, "seed \(seed)")
        #expect(source.memory.contents(at: 0, count: Machine.size) == memoryAtStop, "seed \(seed)")
    }

    /// A state that came in part is refused, and a stopped device can go on where it was.
    @Test func aborted() throws {
        let seed = UInt64.random(in: 0 ... .max)
        let source = try Machine(seed: seed)
        let target = try Machine(seed: ~seed)
        var guest = source.guest
        #expect(source.device.work(100, &guest))
        try source.setState(.stopCopy)
        let atStop = source.scribbler
        let piece = try source.readState(10_000)
        #expect(source.device.work(1, &guest) == false)

        let before = target.scribbler
        try target.setState(.resuming)
        try target.writeState(piece[...])
        #expect(throws: Errno.invalidArgument) { try target.setState(.running) }
        #expect(try target.client.state() == .stop)
        #expect(target.scribbler.seed == before.seed)

        try source.setState(.running)
        #expect(source.scribbler == atStop)
        #expect(source.device.work(1, &guest))
    }
}
