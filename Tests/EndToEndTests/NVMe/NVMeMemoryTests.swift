import Glibc
import NVMeController
import NVMePCI
import NVMeStores
import NVMeSupport
import SystemPackage
import Testing
import VFIOUserClient
import VFIOUserServer

/// Client memory that is not there, is not the device's to use, or goes while commands are being carried out.
struct NVMeMemoryTests {
    private static let nowhere: UInt64 = 0x7777_0000_0000

    /// Maps more memory for the device.
    private func map(
        _ memory: borrowing DMAMemory, at iova: UInt64, of rig: Rig, _ rights: Client.DMARights = .readWrite
    ) throws -> UInt64 {
        guard let space = rig.space else {
            try rig.client.map(memory, at: iova, rights: rights, sharing: rig.way.sharing)
            return iova
        }
        return try rig.client.map(memory, into: space, at: iova, rights: rights, sharing: rig.way.sharing)
    }

    /// A queue that cannot be read or written is fatal, and a reset is the way out.
    @Test(arguments: MemoryWay.allCases)
    func queuesElsewhere(_ way: MemoryWay) throws {
        try NVMeUnderTest.run(way) { _, rig in
            let readOnly = try map(DMAMemory(count: 1 << 20), at: 0x20_0000_0000, of: rig, .read)
            func expectFatal(_ after: () throws -> Void) throws {
                try after()
                #expect(try rig.wait { try rig.status & 2 == 2 })
                try rig.enable()
                #expect(try rig.status == 1)
                #expect(try rig.admin(6, 1) == 0)
            }
            for place in [0, Self.nowhere, .max & ~0xfff] as [UInt64] {
                try expectFatal {
                    try rig.enable(submissions: place)
                    try rig.ring(0, 1)
                }
                try expectFatal {
                    try rig.enable(completions: place)
                    try rig.submit(rig.io(6), to: 0)
                }
                try expectFatal {
                    try rig.createQueues(submissions: place)
                    try rig.ring(2, 1)
                }
            }
            try expectFatal {
                try rig.enable(completions: readOnly)
                try rig.submit(rig.io(6), to: 0)
            }
            try expectFatal {
                try rig.createQueues(completions: readOnly)
                try rig.submit(rig.io(0), to: 1)
            }
        }
    }

    /// Data pointers that lead out of the device's memory: an error of the command alone, and nothing moves.
    @Test(arguments: MemoryWay.allCases)
    func dataElsewhere(_ way: MemoryWay) throws {
        try NVMeUnderTest.run(way) { _, rig in
            let readOnly = try map(DMAMemory(count: 1 << 20), at: 0x20_0000_0000, of: rig, .read)
            try rig.enable()
            try rig.createQueues()
            var hidden = Self.nowhere
            if way.usesIOAS {
                // An address of a space that is not attached.
                let other = try rig.client.allocateIOAS()
                hidden = try rig.client.map(DMAMemory(count: 1 << 20), into: other, at: 0x55_0000_0000)
            }
            let bytes = try rig.fill(4096, seed: 9)
            #expect(try rig.call(rig.io(1, first: 0), on: 1) == 0)
            for place in [0, hidden, Self.nowhere, .max & ~0xfff, rig.address(Rig.size)] as [UInt64] {
                for opcode in [1, 2, 5] as [UInt32] {
                    #expect(try rig.call(rig.io(opcode, prp1: place), on: 1) == 0x04)
                    #expect(try rig.call(rig.io(opcode, blocks: 2, prp2: place), on: 1) == 0x04)
                    #expect(try rig.call(rig.io(opcode, blocks: 9, prp2: place), on: 1) == 0x04)
                    let block = rig.io(opcode | 0x4000, prp1: place | 0xff8, prp2: 4096)
                    #expect(try rig.call(block, on: 1) == 0x04)
                }
                #expect(try rig.admin(6, prp1: place, 1) == 0x04)
            }
            #expect(try rig.call(rig.io(2, prp1: readOnly), on: 1) == 0x04)
            #expect(try rig.call(rig.io(1, first: 1, prp1: readOnly), on: 1) == 0)
            // A list that leads to itself ends: its pages are pointers to it.
            let list = Rig.size - 4096
            for place in stride(from: 0, to: 4096, by: 8) {
                try rig.memory.store(rig.address(list), at: list + place)
            }
            #expect(
                try rig.call(rig.io(1, first: 8, blocks: 256, prp2: rig.address(list + 0xff8)), on: 1) == 0)
            #expect(try rig.call(rig.io(2, first: 0), on: 1) == 0)
            #expect(try rig.memory.read(at: Rig.data, count: 4096) == bytes)
            #expect(try rig.status == 1)
        }
    }

    /// Memory is taken away while a store is at work on it: the command is done before it goes, and what comes later
    /// finds it gone.
    @Test(arguments: MemoryWay.allCases)
    func memoryGoes(_ way: MemoryWay) throws {
        let store = try LateStore(byteCount: 1 << 20)
        store.isHeld = true
        try NVMeUnderTest.run(way, [store]) { _, rig in
            let extra = try DMAMemory(count: 1 << 20)
            let place = try map(extra, at: 0x20_0000_0000, of: rig)
            try extra.write(.pattern(4096, seed: 3), at: 0)
            try rig.enable()
            try rig.createQueues()
            try rig.submit(rig.io(1, prp1: place), to: 1)
            try rig.waitUntilBegun()
            try unmap(place, of: rig)
            #expect(try rig.take(1) == 0)
            try extra.write([UInt8](repeating: 0xee, count: 4096), at: 0)
            try rig.submit(rig.io(2, prp1: place), to: 1)
            #expect(try rig.take(1) == 0x04)
            #expect(try extra.read(at: 0, count: 4096).allSatisfy { $0 == 0xee })
            #expect(try rig.status == 1)
        }
    }

    private func unmap(_ place: UInt64, of rig: Rig) throws {
        if let space = rig.space {
            _ = try rig.client.unmap(place, size: 1 << 20, from: space)
        } else {
            try rig.client.unmap(place, size: 1 << 20)
        }
    }

    /// The whole address space goes, with the queues in it, while commands are being carried out.
    @Test(arguments: [MemoryWay.ioas, .ioasMessages])
    func detached(_ way: MemoryWay) throws {
        let store = try LateStore(byteCount: 1 << 20)
        store.isHeld = true
        try NVMeUnderTest.run(way, [store]) { _, rig in
            try rig.enable()
            try rig.createQueues()
            for block in 0..<4 as Range<UInt32> { try rig.submit(rig.io(2, first: block), to: 1) }
            try rig.waitUntilBegun()
            try rig.client.detach()
            for _ in 0..<4 { #expect(try rig.take(1) == 0) }
            let before = try rig.memory.read(at: 0, count: Rig.size)
            try rig.ring(2, 9)
            #expect(try rig.wait { try rig.status & 2 == 2 })
            #expect(try rig.memory.read(at: 0, count: Rig.size) == before)
            try rig.attach()
            try rig.enable()
            #expect(try rig.admin(6, 1) == 0)
        }
    }

    /// Doorbells of queues that are not there, and values that are no places in their queue.
    @Test func doorbells() throws {
        try NVMeUnderTest.run { _, rig in
            try rig.enable()
            try rig.createQueues()
            for doorbell in 4..<1024 { try rig.ring(doorbell, UInt32(doorbell)) }
            for value in [Rig.entries, 0xffff, .max] {
                try rig.ring(2, value)
                try rig.ring(3, value)
                #expect(try rig.admin(6, 1) == 0)
            }
            try rig.ring(3, 0)
            #expect(try rig.call(rig.io(0), on: 1) == 0)
            // A queue that was deleted carries nothing out.
            #expect(try rig.admin(0, 1) == 0)
            try rig.submit(rig.io(0), to: 1)
            #expect(try rig.admin(4, 1) == 0)
            #expect(try rig.admin(6, 1) == 0)
            #expect(try rig.take(1, seconds: 0) == nil)
            #expect(try rig.status == 1)
        }
    }
}
