import Glibc
import NVMeController
import NVMePCI
import NVMeStores
import NVMeSupport
import SystemPackage
import Testing
import VFIOUserClient
import VFIOUserServer

/// The NVMe sample's device behind a socket: what its drivers do.
struct NVMeTests {
    @Test(arguments: MemoryWay.allCases)
    func data(_ way: MemoryWay) throws {
        try NVMeUnderTest.run(way) { _, rig in
            try rig.enable()
            #expect(try rig.status == 1)
            try rig.createQueues()
            // A list of PRPs at the end of the data, and a scatter-gather list.
            let bytes = try rig.fill(8 * 4096, seed: 5)
            let list = Rig.size - 4096
            for page in 1..<8 {
                try rig.memory.store(rig.address(Rig.data + page * 4096), at: list + page * 8 - 8)
            }
            #expect(try rig.call(rig.io(1, first: 3, blocks: 8, prp2: rig.address(list)), on: 1) == 0)
            #expect(try rig.call(rig.io(5, first: 3, blocks: 8, prp2: rig.address(list)), on: 1) == 0)
            try rig.memory.write([UInt8](repeating: 0, count: 16 * 4096), at: Rig.data)
            #expect(try rig.call(rig.io(5, first: 3, blocks: 8, prp2: rig.address(list)), on: 1) == 0x285)
            let block = rig.io(0x4002, first: 3, blocks: 8, prp1: rig.address(Rig.data + 7), prp2: 8 * 4096)
            #expect(try rig.call(block, on: 1) == 0)
            #expect(try rig.memory.read(at: Rig.data + 7, count: bytes.count) == bytes)
            #expect(try rig.memory.read(at: Rig.data, count: 7) == [UInt8](repeating: 0, count: 7))
        }
    }

    @Test(arguments: [DoorbellMode.mmap, .trap])
    func registers(_ doorbells: DoorbellMode) throws {
        try NVMeUnderTest.run(doorbells: doorbells) { _, rig in
            #expect(try rig.client.read(.bar0, at: 0, as: UInt64.self) == 0x20_1401_0fff)
            #expect(try rig.client.read(.bar0, at: 8, as: UInt32.self) == 0x10400)
            // Bytes and words can be read; writes of them, and of no register, do nothing.
            #expect(try rig.client.read(.bar0, at: 0xa, as: UInt16.self) == 1)
            try rig.client.write(UInt8(1), to: .bar0, at: 0x14)
            try rig.client.write(UInt16(1), to: .bar0, at: 0x14)
            try rig.client.write(UInt64.max, to: .bar0, at: 0)
            #expect(try rig.client.read(.bar0, at: 0x14, as: UInt32.self) == 0)
            try rig.enable()
            #expect(try rig.admin(6, 1) == 0)
            #expect(try rig.memory.read(at: Rig.data + 77, count: 1) == [8])
            // A register written in two halves, as in one.
            #expect(try rig.client.read(.bar0, at: 0x28, as: UInt64.self) == rig.address(0))
            let area = try rig.client.regionInfo(.bar0).areas
            #expect(area.map(\.offset) == (doorbells == .mmap ? [0x1000] : []))
            // Function-level reset: bit 15 of Device Control, in the Express capability.
            let offset = try #require(try capability(0x10, of: rig))
            #expect(try rig.client.read(.config, at: offset + 4, as: UInt32.self) >> 28 & 1 == 1)
            try rig.client.write(UInt16(0x8000), to: .config, at: offset + 8)
            #expect(try rig.status == 0)
            #expect(try rig.client.read(.bar0, at: 0x28, as: UInt64.self) == 0)
            try rig.enable()
            #expect(try rig.admin(6, 1) == 0)
            // Shutdown.
            try rig.client.write(UInt32(0x0046_4001), to: .bar0, at: 0x14)
            #expect(try rig.wait { try rig.status == 1 | 2 << 2 })
        }
    }

    /// Where a capability is in configuration space.
    private func capability(_ id: UInt8, of rig: Rig) throws -> UInt64? {
        var place = UInt64(try rig.client.read(.config, at: 0x34, as: UInt8.self))
        for _ in 0..<48 where place != 0 {
            if try rig.client.read(.config, at: place, as: UInt8.self) == id { return place }
            place = UInt64(try rig.client.read(.config, at: place + 1, as: UInt8.self))
        }
        return nil
    }

    /// INTA until MSI-X is enabled, then the queue's vector.
    @Test func interrupts() throws {
        try NVMeUnderTest.run { _, rig in
            #expect(try rig.client.read(.config, at: 0x3d, as: UInt8.self) == 1)
            let pin = try InterruptListener()
            try rig.client.setInterrupts(.intx, [pin])
            try rig.enable()
            // A command that is answered with an error. Its signal is taken back when its completion is taken.
            try rig.submit(SubmissionEntry(), to: 0)
            #expect(try pin.wait(timeout: .seconds(20)) == 1)
            #expect(try rig.take(0) == 0x101)
            // Masked: the level stays low until it is not.
            try rig.client.write(UInt32(1), to: .bar0, at: 0x0c)
            #expect(try rig.client.read(.bar0, at: 0x10, as: UInt32.self) == 1)
            try rig.submit(SubmissionEntry(), to: 0)
            usleep(20000)
            #expect(try pin.take() == 0)
            try rig.client.write(UInt32(1), to: .bar0, at: 0x10)
            #expect(try pin.wait(timeout: .seconds(20)) == 1)
            #expect(try rig.take(0) == 0x101)
            try rig.client.disableInterrupts(.intx)

            let listeners = try (0..<3).map { _ in try InterruptListener() }
            try rig.client.setInterrupts(.msix, listeners)
            let offset = try #require(try capability(0x11, of: rig))
            try rig.client.write(UInt16(0x8000), to: .config, at: offset + 2)
            try rig.createQueues(vector: 2)
            #expect(try listeners[0].wait(timeout: .seconds(20)) >= 1)
            #expect(try rig.call(rig.io(0), on: 1) == 0)
            #expect(try listeners[2].wait(timeout: .seconds(20)) == 1)
            #expect(try listeners[1].take() == 0)
        }
    }

    /// A client goes while its commands are being carried out; the next one finds a controller that was reset.
    @Test func clientGoes() throws {
        let store = try LateStore(byteCount: 1 << 20)
        store.isHeld = true
        try NVMeUnderTest.run(.legacy, [store], .path) { host, rig in
            try rig.enable()
            try rig.createQueues()
            for block in 0..<8 as Range<UInt32> { try rig.submit(rig.io(2, first: block), to: 1) }
            #expect(try rig.admin(6, 1) == 0)
            rig.client.close()
            let next = try host.connect(.patient)
            defer { next.close() }
            let second = try Rig(next, .legacy)
            #expect(try second.status == 0)
            try second.enable()
            #expect(try second.admin(6, 1) == 0)
        }
        #expect(store.pendingCount == 0)
    }

    /// Neither a change of memory nor the client's end waits for a format, which goes on under the next client.
    @Test(arguments: [MemoryWay.legacy, .legacyMessages])
    func formatGoesOn(_ way: MemoryWay) throws {
        let store = try LateStore(byteCount: 1 << 20)
        store.isHeld = true
        try NVMeUnderTest.run(way, [store], .path) { host, rig in
            try rig.enable()
            try rig.createQueues()
            var format = rig.io(0x80)
            format.dword10 = 1
            try rig.submit(format, to: 0)
            #expect(try rig.admin(6, 1) == 0)
            // Were it waited for, the store would be let go.
            let extra = try DMAMemory(count: 1 << 20)
            try rig.client.map(extra, at: 0x20_0000_0000, sharing: way.sharing)
            #expect(try rig.call(rig.io(2), on: 1) == 0x84)
            rig.client.close()
            let next = try host.connect(.patient)
            defer { next.close() }
            let second = try Rig(next, way)
            try second.enable()
            try second.createQueues()
            #expect(try second.call(second.io(2), on: 1) == 0x84)
        }
        #expect(store.pendingCount == 1)
    }

    /// The file becomes shorter while it is served.
    @Test func truncatedFile() throws {
        let path = "/tmp/nvme-\(getpid())-\(UInt64.random(in: 0 ... .max))"
        let file = try unsafe FileDescriptor.open(
            path, .readWrite, options: .create, permissions: .ownerReadWrite)
        defer { _ = unsafe unlink(path) }
        try file.resize(to: 1 << 20)
        try NVMeUnderTest.run(.legacy, [FileStore(path: path)]) { _, rig in
            try rig.enable()
            try rig.createQueues()
            #expect(try rig.call(rig.io(2, first: 3), on: 1) == 0)
            try file.resize(to: 4096)
            #expect(try rig.call(rig.io(2, first: 3), on: 1) == 0x281)
            #expect(try rig.call(rig.io(2), on: 1) == 0)
            _ = try rig.fill(4096, seed: 1)
            #expect(try rig.call(rig.io(1, first: 3), on: 1) == 0)
            #expect(try rig.call(rig.io(2, first: 3), on: 1) == 0)
        }
        try file.close()
    }
}
