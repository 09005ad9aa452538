import NVMeController
import NVMeStores
import NVMeSupport
import SystemPackage
import Testing

/// Log pages: what is in them, how they are read in parts, and which events reading them allows again.
struct LogTests {
    private func read(_ driver: Driver, _ page: UInt32, _ dwords: UInt32 = 128, offset: UInt32 = 0) -> [UInt8]
    {
        #expect(driver.admin(0x02, namespace: .max, page | (dwords - 1) << 16, 0, offset)?.status == 0)
        return driver.host.bytes(Driver.data, Int(dwords) * 4)
    }

    private func number(_ bytes: [UInt8], _ place: Int, _ count: Int = 8) -> UInt64 {
        bytes[place..<place + count].reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }

    @Test func errors() throws {
        let driver = try Driver()
        driver.createQueues()
        #expect(number(read(driver, 1), 0) == 0)
        let read9 = driver.io(2, first: 9 << 20, blocks: 1)
        let identifier = driver.submit(read9, to: 1)
        driver.controller.process()
        // Do Not Retry and More are set.
        #expect(driver.host.word(driver.completionQueue(1) + 8) >> 49 == 0x6080)
        #expect(driver.take(1)?.status == 0x80)
        #expect(driver.admin(0x06, namespace: 7, 0)?.status == 0x0b)
        let page = read(driver, 1)
        #expect(number(page, 0) == 2)
        #expect(number(page, 8, 2) == 0)
        #expect(number(page, 24, 4) == 7)
        #expect(number(page, 64) == 1)
        #expect(number(page, 64 + 8, 2) == 1)
        #expect(number(page, 64 + 10, 2) == UInt64(identifier))
        #expect(number(page, 64 + 12, 2) >> 1 == 0x6080)
        #expect(number(page, 64 + 14, 2) == 0xffff)
        #expect(number(page, 64 + 16) == 9 << 20)
        #expect(number(page, 64 + 24, 4) == 1)
        #expect(number(page, 128) == 0)
        // More errors than the log holds; the counts go on.
        for _ in 0..<70 { #expect(driver.call(driver.io(0x99), on: 1)?.status == 0x01) }
        let full = read(driver, 1, 1024)
        #expect((0..<64).map { number(full, 64 * $0) } == (9...72).reversed().map { UInt64($0) })
        // A part of it.
        #expect(Array(full[128..<192]) == read(driver, 1, 16, offset: 128))
    }

    @Test func counters() throws {
        let store = try LateStore(byteCount: 1 << 20, isLate: false)
        let driver = try Driver(stores: [store, MemoryStore(byteCount: 1 << 20)])
        driver.createQueues()
        for namespace in 1...2 as ClosedRange<UInt32> {
            #expect(driver.call(driver.io(1, namespace: namespace, blocks: 8), on: 1)?.status == 0)
            #expect(driver.call(driver.io(2, namespace: namespace, blocks: 8), on: 1)?.status == 0)
            #expect(driver.call(driver.io(5, namespace: namespace, blocks: 2), on: 1)?.status == 0)
            // What fails moves nothing.
            #expect(driver.call(driver.io(2, namespace: namespace, prp1: 0), on: 1)?.status == 0x04)
        }
        let page = read(driver, 2)
        #expect(page[0] == 0 && number(page, 1, 2) == 310 && page[3] == 100)
        // In thousands of 512 bytes, rounded up.
        #expect(number(page, 32) == 1 && number(page, 48) == 1)
        #expect(number(page, 64) == 4 && number(page, 80) == 2)
        #expect(number(page, 112) == 1)
        #expect(number(page, 160) == 0 && number(page, 176) == 2)
        store.failure = .ioError
        #expect(driver.call(driver.io(2), on: 1)?.status == 0x281)
        #expect(number(read(driver, 2), 160) == 1)
        let counters = driver.controller.statistics
        #expect(counters.bytesRead == 2 * (4096 + 1024) && counters.bytesWritten == 2 * 4096)
        driver.controller.reset()
        driver.enable()
        let later = read(driver, 2)
        #expect(number(later, 112) == 2 && number(later, 144) == 1)
    }

    /// Reading a page allows its events again, unless it is told to retain them or did not arrive.
    @Test func retainedEvents() throws {
        let driver = try Driver()
        for _ in 0..<3 { #expect(driver.admin(0x0c) == nil) }
        #expect(driver.admin(0x09, 0x0b, 0x102)?.status == 0)
        #expect(driver.admin(0x09, 0x04, 300)?.status == 0)
        #expect(driver.take(0)?.result == 0x0002_0101)
        #expect(driver.admin(0x09, 0x04, 301)?.status == 0)
        #expect(driver.admin(0x02, namespace: .max, 2 | 1 << 15 | 127 << 16)?.status == 0)
        #expect(driver.admin(0x02, namespace: .max, prp1: 0, 2 | 127 << 16)?.status == 0x04)
        driver.controller.process()
        #expect(driver.take(0) == nil)
        #expect(driver.admin(0x02, namespace: .max, 2 | 127 << 16)?.status == 0)
        #expect(driver.take(0)?.result == 0x0002_0101)
        // The list of changed namespaces is emptied in the same way.
        #expect(driver.admin(0x80, namespace: 1, 1)?.status == 0)
        #expect(driver.take(0)?.result == 0x0004_0002)
        #expect(read(driver, 4 | 1 << 15)[0] == 1)
        #expect(read(driver, 4)[0] == 1)
        #expect(read(driver, 4)[0] == 0)
    }

    /// Pages belong to the controller: another namespace than none and all is none of theirs.
    @Test func namespaces() throws {
        let driver = try Driver()
        for page in 1...5 as ClosedRange<UInt32> {
            for (namespace, status) in [(0, 0), (.max, 0), (1, 2), (2, 2)] as [(UInt32, UInt16)] {
                #expect(driver.admin(0x02, namespace: namespace, page | 127 << 16)?.status == status)
            }
        }
        for page in [0, 6, 7, 8, 9, 0x0d, 0x70, 0x80, 0x81, 0xc0, 0xff] as [UInt32] {
            #expect(driver.admin(0x02, page | 127 << 16)?.status == 0x109)
        }
    }

    /// Every opcode that is offered, and no other.
    @Test func effects() throws {
        let driver = try Driver()
        driver.createQueues()
        let page = read(driver, 5, 1024)
        for opcode in 0..<256 {
            let isOffered = page[4 * opcode] & 1 == 1
            #expect(isOffered == [0, 1, 2, 4, 5, 6, 8, 9, 0x0a, 0x0c, 0x7c, 0x80].contains(opcode))
            if !isOffered { #expect(driver.admin(UInt32(opcode))?.status == 0x01) }
            let isIO = page[1024 + 4 * opcode] & 1 == 1
            #expect(isIO == [0, 1, 2, 5, 8, 9, 0x0c].contains(opcode))
            if !isIO { #expect(driver.call(driver.io(UInt32(opcode)), on: 1)?.status == 0x01) }
        }
    }
}
