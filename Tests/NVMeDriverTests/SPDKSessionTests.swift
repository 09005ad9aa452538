import NVMePCI
import SystemPackage
import Testing
import VFIOUserClient

/// What SPDK's NVMe initiator says from beginning to end, to the controller: VERSION without text, padded requests, every
/// message with id 0, an admin queue of 256 entries, nothing but polled doorbells, a descriptor with DMA_UNMAP.
struct SPDKSessionTests {
    /// One session.
    final class Initiator {
        let client: Client
        let memory: DMAMemory
        static let iova: UInt64 = 0x2000_0020_0000
        static let byteCount = 256 << 20
        private var doorbells: MappedMemory?

        /// A queue pair in the memory: 256 entries of each.
        struct Queue {
            let number: Int
            let submissions: Int
            let completions: Int
            var tail = 0
            var head = 0
            var phase: UInt32 = 1
        }
        var admin = Queue(number: 0, submissions: 0, completions: 0x8000)
        var queue = Queue(number: 1, submissions: 0x10000, completions: 0x18000)

        init(_ client: Client) throws {
            self.client = client
            memory = try DMAMemory(count: Self.byteCount)
        }

        /// One request, one reply, which the initiator reads at once.
        @discardableResult
        func call(_ command: UInt16, _ payload: [UInt8], _ files: [FileDescriptor] = []) throws
            -> Client.Message
        {
            try client.send(Client.Request(rawCommand: command, payload: payload, files: files), id: 0)
            let reply = try client.reply(to: 0).successful()
            #expect(reply.command == command && reply.payload.count <= 4096)
            return reply
        }

        func read(_ region: UInt32, _ offset: UInt64, _ count: UInt32) throws -> UInt64 {
            let reply = try call(9, little(offset, 8) + little(UInt64(region), 4) + little(UInt64(count), 4))
            return integer(reply.payload, 16, Int(count))
        }

        func write(_ region: UInt32, _ offset: UInt64, _ value: UInt64, _ count: Int) throws {
            try call(
                10,
                little(offset, 8) + little(UInt64(region), 4) + little(UInt64(count), 4)
                    + little(value, count))
        }

        /// Asks about the regions, and maps the one area that there is.
        func findDoorbells() throws {
            let info = try call(4, little(16, 4) + [UInt8](repeating: 0, count: 12)).payload
            let regions = integer(info, 8, 4)
            #expect(regions <= 10)
            var mapped: [UInt64] = []
            for index in 0..<regions {
                let head = little(4064, 4) + little(0, 4) + little(index, 4)
                let reply = try call(5, head + [UInt8](repeating: 0, count: 4064 - head.count))
                guard let file = reply.files.first else { continue }
                mapped.append(index)
                let (areas, offset) = (Int(integer(reply.payload, 12, 4)), integer(reply.payload, 24, 8))
                #expect(integer(reply.payload, areas, 2) == 1 && integer(reply.payload, areas + 8, 4) == 1)
                #expect(integer(reply.payload, areas + 16, 8) == 0x1000)
                #expect(integer(reply.payload, areas + 24, 8) == 0x1000)
                doorbells = try MappedMemory(sharing: file.descriptor, offset: offset + 0x1000, count: 0x1000)
            }
            #expect(mapped == [0])
        }

        /// A command's 16 dwords, which a queue is given and rung for.
        func submit(_ dwords: [Int: UInt32], _ queue: inout Queue) throws {
            for place in 0..<16 {
                try memory.store(dwords[place] ?? 0, at: queue.submissions + queue.tail * 64 + place * 4)
            }
            queue.tail = (queue.tail + 1) % 256
            try #require(doorbells).storeReleasing(UInt32(queue.tail), at: queue.number * 8)
        }

        /// The next completion's result.
        func complete(_ queue: inout Queue, identifier: UInt32) throws -> UInt32 {
            let place = queue.completions + queue.head * 16
            let end = ContinuousClock.now.advanced(by: .seconds(20))
            var status: UInt32 = 0
            repeat {
                guard ContinuousClock.now < end else { throw Errno.timedOut }
                status = try memory.loadAcquiring(at: place + 12)
            } while status >> 16 & 1 != queue.phase
            #expect(status & 0xffff == identifier && status >> 17 == 0)
            queue.head = (queue.head + 1) % 256
            if queue.head == 0 { queue.phase ^= 1 }
            try #require(doorbells).storeReleasing(UInt32(queue.head), at: queue.number * 8 + 4)
            return try memory.load(at: place)
        }

        /// An admin command with data at 0x20000.
        @discardableResult
        func admin(
            _ opcode: UInt32, _ dword10: UInt32, _ dword11: UInt32 = 0, data: Int = 0x20000,
            namespace: UInt32 = 0
        )
            throws -> UInt32
        {
            let address = Self.iova + UInt64(data)
            try submit(
                [
                    0: opcode | 77 << 16, 1: namespace, 6: UInt32(truncatingIfNeeded: address),
                    7: UInt32(address >> 32), 10: dword10, 11: dword11,
                ], &admin)
            return try complete(&admin, identifier: 77)
        }

        /// Reads or writes blocks by a data block descriptor or by PRPs, as the initiator does.
        func transfer(_ opcode: UInt32, block: UInt32, count: Int, at data: Int, usesSGL: Bool) throws {
            let address = Self.iova + UInt64(data)
            var dwords: [Int: UInt32] = [
                0: opcode | 5 << 16, 1: 1, 6: UInt32(truncatingIfNeeded: address), 7: UInt32(address >> 32),
                10: block, 12: UInt32(count / 512 - 1),
            ]
            let pages = (data % 4096 + count + 4095) / 4096
            if usesSGL {
                dwords[0]? |= 1 << 14
                dwords[8] = UInt32(count)
            } else if pages > 1 {
                var second = address & ~4095 + 4096
                if pages > 2 {
                    for page in 0..<pages - 1 {
                        try memory.store(second + UInt64(page * 4096), at: 0x30000 + page * 8)
                    }
                    second = Self.iova + 0x30000
                }
                dwords[8] = UInt32(truncatingIfNeeded: second)
                dwords[9] = UInt32(second >> 32)
            }
            try submit(dwords, &queue)
            _ = try complete(&queue, identifier: 5)
        }

        private func little(_ value: UInt64, _ count: Int) -> [UInt8] {
            (0..<count).map { UInt8(truncatingIfNeeded: value >> UInt64(8 * $0)) }
        }

        func integer(_ bytes: [UInt8], _ offset: Int, _ count: Int) -> UInt64 {
            guard offset >= 0, offset + count <= bytes.count else { return .max }
            return (0..<count).reduce(0) { $0 | UInt64(bytes[offset + $1]) << UInt64(8 * $1) }
        }

        func map() throws {
            guard let file = memory.file else { throw Errno.badFileDescriptor }
            try call(
                2,
                little(32, 4) + little(3, 4) + little(0, 8) + little(Self.iova, 8)
                    + little(UInt64(Self.byteCount), 8),
                [file.descriptor])
        }

        /// With a descriptor that means nothing.
        func unmap() throws {
            guard let file = memory.file else { throw Errno.badFileDescriptor }
            try call(
                3, little(24, 4) + little(0, 4) + little(Self.iova, 8) + little(UInt64(Self.byteCount), 8),
                [file.descriptor])
        }
    }

    @Test func wholeSession() throws {
        let server = try NVMeServer(byteCount: 4 << 20)
        var options = ClientOptions()
        options.skipsNegotiation = true
        options.timeout = .seconds(20)
        let initiator = try Initiator(server.connect(options))
        let version = try initiator.call(1, [0, 0, 1, 0])
        #expect(Array(version.payload.prefix(4)) == [0, 0, 1, 0])
        try initiator.findDoorbells()
        try initiator.map()

        let command = try initiator.read(7, 4, 2)
        try initiator.write(7, 4, command | 0x404, 2)
        for (offset, count) in [(0, 8), (8, 4), (0, 8), (0x14, 4), (0x1c, 4)] as [(UInt64, UInt32)] {
            _ = try initiator.read(0, offset, count)
        }
        try initiator.write(0, 0x28, Initiator.iova + UInt64(initiator.admin.submissions), 8)
        try initiator.write(0, 0x30, Initiator.iova + UInt64(initiator.admin.completions), 8)
        try initiator.write(0, 0x24, 0x00ff_00ff, 4)
        try initiator.write(0, 0x14, 0x0046_0001, 4)
        while try initiator.read(0, 0x1c, 4) & 1 == 0 {}

        try initiator.admin(6, 1)
        let identity = try initiator.memory.read(at: 0x20000, count: 4096)
        try initiator.admin(9, 0x0b, 0x100)
        // Asynchronous event requests stay.
        let eventRequests = min(8, UInt32(identity[259]) + 1)
        for number in 0..<eventRequests {
            try initiator.submit([0: 0x0c | (100 + number) << 16], &initiator.admin)
        }
        if initiator.integer(identity, 320, 2) != 0 { try initiator.admin(10, 0x0f) }
        try initiator.admin(6, 6)
        #expect(try initiator.admin(9, 7, 0x03ff_03ff) == 0x0003_0003)
        for kind in [2, 0, 3] as [UInt32] { try initiator.admin(6, kind, namespace: kind == 2 ? 0 : 1) }
        try initiator.admin(5, 255 << 16 | 1, 1, data: initiator.queue.completions)
        try initiator.admin(1, 255 << 16 | 1, 1 << 16 | 1, data: initiator.queue.submissions)

        // Buffers that begin anywhere, for more commands than the queue has entries.
        let usesSGL = initiator.integer(identity, 536, 4) & 3 != 0
        for round in 0..<300 {
            let count = [512, 4096, 8192, 131072][round % 4]
            let data = 0x100000 + round % 7 * 0x21040
            let sent = noise(count, seed: round)
            let block = UInt32(round * 16)
            try initiator.memory.write(sent, at: data)
            try initiator.transfer(1, block: block, count: count, at: data, usesSGL: usesSGL)
            try initiator.transfer(2, block: block, count: count, at: 0x800000 + data, usesSGL: usesSGL)
            #expect(try initiator.memory.read(at: 0x800000 + data, count: count) == sent)
        }

        try initiator.admin(0, 1)
        try initiator.admin(4, 1)
        #expect(try initiator.read(0, 0x14, 4) == 0x0046_0001)
        try initiator.write(0, 0x14, 0x0046_4001, 4)
        while try initiator.read(0, 0x1c, 4) >> 2 & 3 != 2 {}
        try initiator.unmap()
        initiator.client.close()
        #expect(server.unsafeShutdowns == 0)
    }
}
