import NVMeController
import NVMeStores
import NVMeSupport
import Testing

struct IOTests {
    /// Whole pages by a list, parts of pages, lists that begin late in their page and lead to others.
    @Test(arguments: FakeHost.Mode.allCases, [0, 4, 512, 4092])
    func transfers(_ mode: FakeHost.Mode, _ offset: UInt64) throws {
        for isMemory in [true, false] {
            let store: any BackingStore =
                isMemory
                ? try MemoryStore(byteCount: 4 << 20) : try LateStore(byteCount: 4 << 20, isLate: false)
            let driver = try Driver(stores: [store], mode: mode)
            driver.createQueues()
            let list = FakeHost.base + 0x30_0000
            for (blocks, listOffset) in [
                (1, 0), (8, 0), (9, 0), (64, 0), (2048, 0), (256, 0xff8), (256, 0xf00),
            ] {
                let count = blocks * 512
                let data = pattern(count, seed: blocks)
                driver.host.put([UInt8](repeating: 0xee, count: count + 8192), at: Driver.data)
                driver.host.put(data, at: Driver.data + offset)
                let second = lay(driver, count, offset, list + UInt64(listOffset))
                let prp = Driver.data + offset
                let write = driver.io(1, first: 3, blocks: UInt32(blocks), prp1: prp, prp2: second)
                #expect(driver.call(write, on: 1)?.status == 0)
                driver.host.put([UInt8](repeating: 0, count: count + 8192), at: Driver.data)
                let compare = driver.io(5, first: 3, blocks: UInt32(blocks), prp1: prp, prp2: second)
                #expect(driver.call(compare, on: 1)?.status == 0x285)
                let read = driver.io(2, first: 3, blocks: UInt32(blocks), prp1: prp, prp2: second)
                #expect(driver.call(read, on: 1)?.status == 0)
                #expect(driver.host.bytes(prp, count) == data)
                // Nothing before or behind it.
                #expect(driver.host.bytes(Driver.data, Int(offset)).allSatisfy { $0 == 0 })
                #expect(driver.host.bytes(prp + UInt64(count), 512).allSatisfy { $0 == 0 })
                #expect(driver.call(compare, on: 1)?.status == 0)
            }
        }
    }

    /// The second PRP for so many bytes at an offset into the data: nothing, a page, or a list at `list`.
    private func lay(_ driver: Driver, _ count: Int, _ offset: UInt64, _ list: UInt64) -> UInt64 {
        let rest = count - min(count, 4096 - Int(offset))
        guard rest > 0 else { return 0 }
        guard rest > 4096 else { return Driver.data + 4096 }
        var pages = (0..<(rest + 4095) / 4096).map { Driver.data + UInt64($0 + 1) * 4096 }
        var place = list
        var next = (list | 0xfff) + 1
        while !pages.isEmpty {
            let room = Int(4096 - place & 0xfff) / 8
            let isLast = pages.count <= room
            for page in pages.prefix(isLast ? room : room - 1) {
                driver.host.put(page, at: place)
                place += 8
            }
            pages.removeFirst(min(pages.count, isLast ? room : room - 1))
            if !isLast {
                driver.host.put(next, at: place)
                place = next
                next += 4096
            }
        }
        return list
    }

    @Test func wrongFields() throws {
        let driver = try Driver(stores: [
            MemoryStore(byteCount: 4 << 20), MemoryStore(byteCount: 1 << 20, isReadOnly: true),
        ])
        driver.createQueues()
        func status(_ entry: SubmissionEntry) -> UInt16? { driver.call(entry, on: 1)?.status }
        let end: UInt64 = 4 << 20 / 512
        #expect(status(driver.io(0x99)) == 0x01)
        #expect(status(driver.io(2, namespace: 0)) == 0x0b)
        #expect(status(driver.io(2, namespace: 3)) == 0x0b)
        #expect(status(driver.io(2, namespace: .max)) == 0x0b)
        #expect(status(driver.io(0, namespace: .max)) == 0)
        #expect(status(driver.io(0x102)) == 0x02)
        #expect(status(driver.io(0xc002)) == 0x02)
        #expect(status(driver.io(2, first: end)) == 0x80)
        #expect(status(driver.io(2, first: end - 1, blocks: 2)) == 0x80)
        #expect(status(driver.io(2, first: .max, blocks: 2)) == 0x80)
        #expect(status(driver.io(2, first: end - 1)) == 0)
        // One block above MDTS.
        #expect(status(driver.io(2, blocks: 2049)) == 0x02)
        #expect(status(driver.io(2, blocks: 0x10000)) == 0x02)
        #expect(status(driver.io(2, prp1: Driver.data + 2)) == 0x13)
        #expect(status(driver.io(2, blocks: 9, prp2: Driver.data + 512)) == 0x13)
        #expect(status(driver.io(2, blocks: 17, prp2: Driver.data + 4)) == 0x13)
        #expect(status(driver.io(2, prp1: 0)) == 0x04)
        #expect(status(driver.io(2, blocks: 9, prp2: 0)) == 0x04)
        #expect(status(driver.io(2, blocks: 64, prp2: 0x8000_0000_0000_0000)) == 0x04)
        #expect(status(driver.io(1, flags: 1 << 20)) == 0x02)
        for opcode in [1, 8] as [UInt32] { #expect(status(driver.io(opcode, namespace: 2)) == 0x20) }
        #expect(status(driver.io(2, namespace: 2)) == 0)
        #expect(status(driver.io(8, first: end - 1, blocks: 2)) == 0x80)
        #expect(status(driver.io(0x0c, first: end - 1, blocks: 2)) == 0x80)
        #expect(status(driver.io(0x0c, blocks: 0x2000)) == 0)
        #expect(driver.controller.readRegister(0x1c) == 1)
    }

    @Test(arguments: [true, false])
    func zeroesAndDeallocation(_ isMemory: Bool) throws {
        let store: any BackingStore =
            isMemory ? try MemoryStore(byteCount: 4 << 20) : try LateStore(byteCount: 4 << 20, isLate: true)
        let driver = try Driver(stores: [store])
        driver.createQueues()
        func call(_ entry: SubmissionEntry) -> UInt16? {
            driver.submit(entry, to: 1)
            driver.controller.process()
            driver.controller.process()
            return driver.take(1)?.status
        }
        func isZero(_ first: UInt64) -> Bool? {
            guard call(driver.io(2, first: first)) == 0 else { return nil }
            return driver.host.bytes(Driver.data, 512).allSatisfy { $0 == 0 }
        }
        driver.host.put(pattern(4096), at: Driver.data)
        for first in 0..<40 as Range<UInt64> {
            driver.host.put(pattern(512), at: Driver.data)
            #expect(call(driver.io(1, first: first)) == 0)
        }
        #expect(call(driver.io(8, first: 1, blocks: 10)) == 0)
        #expect(isZero(0) == false)
        #expect(isZero(1) == true)
        #expect(isZero(10) == true)
        #expect(isZero(11) == false)
        // Two ranges and a hint.
        var manage = driver.io(9)
        manage.dword10 = 1
        manage.dword12 = 0
        func ranges(_ list: [(UInt32, UInt64)]) {
            for (place, range) in list.enumerated() {
                driver.host.put(UInt32(0), at: Driver.data + UInt64(place) * 16)
                driver.host.put(range.0, at: Driver.data + UInt64(place) * 16 + 4)
                driver.host.put(range.1, at: Driver.data + UInt64(place) * 16 + 8)
            }
        }
        ranges([(1, 20), (2, 30)])
        manage.dword11 = 0
        #expect(call(manage) == 0)
        #expect(isZero(20) == false)
        ranges([(1, 20), (2, 30)])
        manage.dword11 = 4
        #expect(call(manage) == 0)
        #expect(isZero(20) == true)
        #expect(isZero(21) == false)
        #expect(isZero(31) == true)
        // A range that does not exist: nothing is done.
        ranges([(1, 21), (1, .max)])
        #expect(call(manage) == 0x80)
        #expect(isZero(21) == false)
    }

    @Test func markedWritten() throws {
        let driver = try Driver()
        driver.createQueues()
        driver.host.forgetWritten()
        #expect(driver.call(driver.io(2, blocks: 8), on: 1)?.status == 0)
        #expect(driver.host.written.contains { $0.0 == Driver.data && $0.1 == 4096 })
        #expect(driver.host.written.contains { $0.0 == driver.completionQueue(1) && $0.1 == 16 })
    }

    @Test func counters() throws {
        let driver = try Driver()
        driver.createQueues()
        #expect(driver.call(driver.io(1, blocks: 8), on: 1)?.status == 0)
        #expect(driver.call(driver.io(2, blocks: 2), on: 1)?.status == 0)
        let counters = driver.controller.statistics
        #expect(counters.readCommands == 1 && counters.writeCommands == 1)
        #expect(counters.bytesRead == 1024 && counters.bytesWritten == 4096)
    }
}
