import NVMeController
import NVMeStores
import NVMeSupport
import Testing

/// Scatter-gather lists as data pointers of I/O commands.
struct SGLTests {
    typealias Entry = (address: UInt64, length: UInt64, kind: UInt64)
    static let list = FakeHost.base + 0x38_0000

    func put(_ driver: Driver, _ entries: [Entry], at address: UInt64) {
        for (place, entry) in entries.enumerated() {
            driver.host.put(entry.address, at: address + UInt64(place) * 16)
            driver.host.put(entry.length | entry.kind << 56, at: address + UInt64(place) * 16 + 8)
        }
    }

    func io(
        _ driver: Driver, _ opcode: UInt32, blocks: UInt32, _ entry: Entry, pointer: UInt32 = 1
    ) -> SubmissionEntry {
        driver.io(
            opcode | pointer << 14, blocks: blocks, prp1: entry.address, prp2: entry.length | entry.kind << 56
        )
    }

    /// Pieces of odd sizes at odd places, in one segment or several.
    @Test(arguments: FakeHost.Mode.allCases, [1, 2] as [UInt32])
    func transfers(_ mode: FakeHost.Mode, _ pointer: UInt32) throws {
        for isMemory in [true, false] {
            let store: any BackingStore =
                isMemory
                ? try MemoryStore(byteCount: 4 << 20) : try LateStore(byteCount: 4 << 20, isLate: false)
            let driver = try Driver(stores: [store], mode: mode)
            driver.createQueues()
            let data = Driver.data
            let pieces: [Entry] = [
                (data + 1, 511, 0), (data + 5000, 3, 0), (data + 9000, 0, 0), (data + 0x3001, 3582, 0),
            ]
            // One segment, and three with a piece in each of the first two.
            put(driver, pieces, at: Self.list)
            put(driver, [pieces[0], (Self.list + 0x200, 32, 0x20)], at: Self.list + 0x100)
            put(driver, [pieces[1], (Self.list + 0x300, 32, 0x30)], at: Self.list + 0x200)
            put(driver, Array(pieces[2...]), at: Self.list + 0x300)
            let heads: [Entry] = [(Self.list, 64, 0x30), (Self.list + 0x100, 32, 0x20)]
            for (head, seed) in zip(heads, [1, 2]) {
                let bytes = pattern(4096, seed: seed)
                var rest = bytes[...]
                for piece in pieces {
                    driver.host.put(Array(rest.prefix(Int(piece.length))), at: piece.address)
                    rest = rest.dropFirst(Int(piece.length))
                }
                #expect(driver.call(io(driver, 1, blocks: 8, head, pointer: pointer), on: 1)?.status == 0)
                #expect(driver.call(io(driver, 5, blocks: 8, head, pointer: pointer), on: 1)?.status == 0)
                driver.host.put([UInt8](repeating: 0, count: 0x5000), at: data)
                #expect(driver.call(io(driver, 5, blocks: 8, head, pointer: pointer), on: 1)?.status == 0x285)
                #expect(driver.call(io(driver, 2, blocks: 8, head, pointer: pointer), on: 1)?.status == 0)
                #expect(pieces.flatMap { driver.host.bytes($0.address, Int($0.length)) } == bytes)
                // Nothing between them.
                #expect(driver.host.bytes(data, 1) == [0])
                #expect(driver.host.bytes(data + 512, 4488).allSatisfy { $0 == 0 })
                #expect(driver.host.bytes(data + 5003, 0x3001 - 5003).allSatisfy { $0 == 0 })
            }
        }
    }

    /// A data block is a list by itself; what is read into a bucket is gone, what would be written from one is not there.
    @Test(arguments: [true, false])
    func dataBlockAndBuckets(_ isMemory: Bool) throws {
        let store: any BackingStore =
            isMemory ? try MemoryStore(byteCount: 1 << 20) : try LateStore(byteCount: 1 << 20, isLate: false)
        let driver = try Driver(stores: [store])
        driver.createQueues()
        let data = Driver.data
        let bytes = pattern(1024)
        driver.host.put(bytes, at: data + 3)
        #expect(driver.call(io(driver, 1, blocks: 2, (data + 3, 1024, 0)), on: 1)?.status == 0)
        put(driver, [(0, 300, 0x10), (data + 0x1000, 200, 0), (.max, 524, 0x10)], at: Self.list)
        #expect(driver.call(io(driver, 2, blocks: 2, (Self.list, 48, 0x30)), on: 1)?.status == 0)
        #expect(driver.host.bytes(data + 0x1000, 200) == Array(bytes[300..<500]))
        #expect(driver.host.bytes(data + 0x1000 + 200, 824).allSatisfy { $0 == 0 })
        #expect(driver.call(io(driver, 2, blocks: 2, (0, 1024, 0x10)), on: 1)?.status == 0)
        put(driver, [(0, 300, 0x10), (data + 3, 1024, 0), (0, 9, 0x10)], at: Self.list)
        #expect(driver.call(io(driver, 5, blocks: 2, (Self.list, 48, 0x30)), on: 1)?.status == 0)
        #expect(driver.call(io(driver, 1, blocks: 2, (0, 1024, 0x10)), on: 1)?.status == 0x0f)
    }

    @Test func wrongLists() throws {
        let driver = try Driver(stores: [MemoryStore(byteCount: 4 << 20)])
        driver.createQueues()
        let data = Driver.data
        let list = Self.list
        func status(_ entry: Entry, _ entries: [Entry] = [], pointer: UInt32 = 1) -> UInt16? {
            put(driver, entries, at: list)
            return driver.call(io(driver, 2, blocks: 8, entry, pointer: pointer), on: 1)?.status
        }
        #expect(status((data, 4096, 0)) == 0)
        // The pointer's kind; admin commands have PRPs only.
        #expect(status((data, 4096, 0), pointer: 3) == 0x02)
        #expect(driver.admin(0x4006, prp1: data, prp2: 4096, 1)?.status == 0x02)
        // Too short, too long.
        #expect(status((data, 4095, 0)) == 0x0f)
        #expect(status((data, 4097, 0)) == 0x0f)
        #expect(status((data, 0, 0)) == 0x0f)
        #expect(status((list, 32, 0x30), [(data, 4000, 0), (data, 97, 0)]) == 0x0f)
        // Types and subtypes that are not offered.
        for kind in [0x01, 0x11, 0x21, 0x31, 0x40, 0x50, 0x5a, 0xf0, 0xff] as [UInt64] {
            #expect(status((data, 4096, kind)) == 0x11)
            #expect(status((list, 16, 0x30), [(data, 4096, kind)]) == 0x11)
        }
        // Segments: length, address.
        for kind in [0x20, 0x30] as [UInt64] {
            #expect(status((list, 0, kind)) == 0x0d)
            #expect(status((list, 17, kind)) == 0x0d)
            #expect(status((list + 4, 16, kind)) == 0x0d)
            #expect(status((0x10, 16, kind)) == 0x04)
            #expect(status((.max - 15, 32, kind)) == 0x04)
            #expect(status((list, 0xffff_fff0, kind)) == 0x0e)
        }
        // A last segment that leads on, a segment that does not, one in the middle.
        #expect(status((list, 32, 0x30), [(data, 4096, 0), (list, 16, 0x30)]) == 0x0d)
        #expect(status((list, 16, 0x20), [(data, 4096, 0)]) == 0x0d)
        #expect(status((list, 32, 0x20), [(list, 16, 0x30), (data, 4096, 0)]) == 0x0e)
        // Lists that lead to themselves end.
        #expect(status((list, 16, 0x20), [(list, 16, 0x20)]) == 0x0e)
        #expect(status((list, 32, 0x20), [(data, 1, 0), (list, 32, 0x20)]) == 0x0e)
        // Memory that is not there, round the end of addresses, or read-only; nothing of it is touched.
        driver.host.readOnly = FakeHost.base + 7 << 20..<FakeHost.base + 8 << 20
        driver.controller.memoryChanged()
        driver.host.put([UInt8](repeating: 0xee, count: 4096), at: data)
        for bad in [0, UInt64.max - 8, FakeHost.base + 8 << 20, FakeHost.base + 7 << 20] {
            #expect(status((list, 32, 0x30), [(data, 1024, 0), (bad, 3072, 0)]) == 0x04)
        }
        #expect(status((FakeHost.base + 8 << 20 - 8, 4096, 0)) == 0x04)
        #expect(driver.host.bytes(data, 4096).allSatisfy { $0 == 0xee })
        #expect(driver.controller.readRegister(0x1c) == 1)
    }

    /// As many ranges as there may be, and one more.
    @Test func manyRanges() throws {
        let driver = try Driver(stores: [MemoryStore(byteCount: 4 << 20)])
        driver.createQueues()
        let data = Driver.data
        driver.host.put(pattern(2052 * 512), at: data)
        let write = driver.io(0x4001, blocks: 2, prp1: data, prp2: 1024)
        #expect(driver.call(write, on: 1)?.status == 0)
        let entries = (0..<1024).map { Entry(data + UInt64($0) * 8, 1, 0) }
        put(driver, entries, at: Self.list)
        let fits = io(driver, 2, blocks: 2, (Self.list, 1024 * 16, 0x30))
        #expect(driver.call(fits, on: 1)?.status == 0)
        for place in [0, 1, 511, 1023] {
            #expect(driver.host.bytes(data + UInt64(place) * 8, 1) == [pattern(1024)[place]])
        }
        put(driver, (0..<1200).map { (data + UInt64($0) * 8, 1, 0) }, at: Self.list)
        #expect(driver.call(io(driver, 2, blocks: 4, (Self.list, 1200 * 16, 0x30)), on: 1)?.status == 0x0e)
        put(driver, (0..<1100).map { (data + UInt64($0) * 8, 1, 0) }, at: Self.list)
        #expect(driver.call(io(driver, 2, blocks: 4, (Self.list, 1100 * 16, 0x30)), on: 1)?.status == 0x0e)
    }

    @Test func isOffered() throws {
        let driver = try Driver()
        #expect(driver.admin(0x06, 1)?.status == 0)
        #expect(driver.host.bytes(Driver.data + 536, 4) == [1, 0, 9, 0])
    }
}
