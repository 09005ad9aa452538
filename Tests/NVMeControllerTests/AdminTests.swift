import NVMeController
import NVMeSupport
import SystemPackage
import Testing

struct AdminTests {
    @Test func identifyController() throws {
        let driver = try Driver()
        #expect(driver.admin(0x06, 1)?.status == 0)
        let page = driver.host.bytes(Driver.data, 4096)
        #expect(page[4..<8].elementsEqual("test".utf8))
        #expect(page[77] == 8)
        #expect(page[512] == 0x66 && page[513] == 0x44)
        #expect(page[516] == 1)
        #expect(String(decoding: page[768..<772], as: UTF8.self) == "nqn.")
    }

    @Test func identifyNamespace() throws {
        let driver = try Driver()
        #expect(driver.admin(0x06, namespace: 1, 0)?.status == 0)
        #expect(driver.host.word(Driver.data) == 4 << 20 / 512)
        #expect(driver.admin(0x06, namespace: 0, 2)?.status == 0)
        #expect(driver.host.word(Driver.data) == 1)
        #expect(driver.admin(0x06, namespace: 1, 3)?.status == 0)
        #expect(driver.host.bytes(Driver.data, 2) == [2, 16])
        #expect(driver.admin(0x06, namespace: 0, 6)?.status == 0)
        #expect(driver.admin(0x06, namespace: 2, 0)?.status == 0x0b)
        #expect(driver.admin(0x06, namespace: .max, 0)?.status == 0x0b)
        #expect(driver.admin(0x06, namespace: .max, 2)?.status == 0x0b)
        #expect(driver.admin(0x06, namespace: 1, 0x7f)?.status == 0x02)
    }

    @Test func unknownAndMalformed() throws {
        let driver = try Driver()
        #expect(driver.admin(0x7f)?.status == 0x01)
        // Fused, and SGLs.
        #expect(driver.admin(0x0106, 1)?.status == 0x02)
        #expect(driver.admin(0x4006, 1)?.status == 0x02)
        // Unaligned, outside, nothing at the second page.
        #expect(driver.admin(0x06, prp1: Driver.data + 1, 1)?.status == 0x13)
        #expect(driver.admin(0x06, prp1: 0, 1)?.status == 0x04)
        #expect(driver.admin(0x06, prp1: .max & ~3, prp2: 0, 1)?.status == 0x04)
        #expect(driver.admin(0x06, prp1: Driver.data + 8, prp2: Driver.data + 0x1008, 1)?.status == 0x13)
        #expect(driver.controller.statistics.errors == 7)
        // The log has the newest first.
        #expect(driver.admin(0x02, namespace: .max, 0x01 | 127 << 16)?.status == 0)
        #expect(driver.host.word(Driver.data) == 7)
        #expect(driver.host.word(Driver.data + 64) == 6)
    }

    @Test func queues() throws {
        let driver = try Driver()
        let queue = Driver.data
        func createCompletion(_ d10: UInt32, _ d11: UInt32, at prp: UInt64 = queue) -> UInt16? {
            driver.admin(0x05, prp1: prp, d10, d11)?.status
        }
        func createSubmission(_ d10: UInt32, _ d11: UInt32, at prp: UInt64 = queue) -> UInt16? {
            driver.admin(0x01, prp1: prp, d10, d11)?.status
        }
        #expect(createCompletion(15 << 16, 1) == 0x101)
        #expect(createCompletion(15 << 16 | 65, 1) == 0x101)
        #expect(createCompletion(1, 1) == 0x102)
        #expect(createCompletion(4096 << 16 | 1, 1) == 0x102)
        #expect(createCompletion(15 << 16 | 1, 0) == 0x02)
        #expect(createCompletion(15 << 16 | 1, 1, at: queue + 4) == 0x13)
        #expect(createCompletion(15 << 16 | 1, 1 | 65 << 16) == 0x108)
        #expect(createCompletion(4095 << 16 | 1, 1) == 0)
        #expect(createCompletion(15 << 16 | 1, 1) == 0x101)
        #expect(createSubmission(15 << 16 | 1, 1) == 0x101)
        #expect(createSubmission(15 << 16 | 1, 1 | 65 << 16) == 0x101)
        #expect(createSubmission(15 << 16 | 1, 1 | 2 << 16) == 0x100)
        #expect(createSubmission(15 << 16 | 1, 1 | 1 << 16) == 0)
        #expect(createSubmission(15 << 16 | 2, 1 | 1 << 16) == 0)
        #expect(driver.admin(0x09, 0x07, 0)?.status == 0x0c)
        #expect(driver.admin(0x04, 1)?.status == 0x10c)
        #expect(driver.admin(0x00, 0)?.status == 0x101)
        #expect(driver.admin(0x00, 3)?.status == 0x101)
        #expect(driver.admin(0x00, 1)?.status == 0)
        #expect(driver.admin(0x00, 2)?.status == 0)
        #expect(driver.admin(0x04, 1)?.status == 0)
        #expect(driver.admin(0x04, 1)?.status == 0x101)
        #expect(driver.admin(0x04, 0)?.status == 0x101)
    }

    @Test func features() throws {
        let driver = try Driver { $0.queuePairs = 4 }
        #expect(driver.admin(0x09, 0x07, 0x03ff_03ff)?.result == 0x0003_0003)
        #expect(driver.admin(0x09, 0x07, 0xffff)?.status == 0x02)
        #expect(driver.admin(0x0a, 0x07)?.result == 0x0003_0003)
        #expect(driver.admin(0x09, 0x01, 0x0102_0303)?.status == 0)
        #expect(driver.admin(0x0a, 0x01)?.result == 0x0102_0303)
        #expect(driver.admin(0x0a, 0x101)?.result == 6)
        #expect(driver.admin(0x0a, 0x301)?.result == 4)
        #expect(driver.admin(0x09, 0x8000_0001)?.status == 0x10d)
        #expect(driver.admin(0x09, namespace: 1, 0x01)?.status == 0x10f)
        #expect(driver.admin(0x09, namespace: 9, 0x05)?.status == 0x0b)
        #expect(driver.admin(0x09, namespace: 1, 0x05, 7)?.status == 0)
        #expect(driver.admin(0x0a, namespace: 1, 0x05)?.result == 7)
        #expect(driver.admin(0x09, 0x02, 1)?.status == 0x02)
        #expect(driver.admin(0x09, 0x09, 0x1_0002)?.status == 0)
        #expect(driver.admin(0x0a, 0x09, 2)?.result == 0x1_0002)
        #expect(driver.admin(0x0a, 0x09, 0xffff)?.status == 0x02)
        // A store in memory has no volatile cache.
        #expect(driver.admin(0x0a, 0x06)?.status == 0x02)
        #expect(driver.admin(0x0a, 0x0f)?.status == 0x02)
        #expect(driver.admin(0x09, 0xc0)?.status == 0x02)
    }

    @Test func logPages() throws {
        let driver = try Driver()
        #expect(driver.admin(0x02, namespace: .max, 0x02 | 127 << 16)?.status == 0)
        #expect(driver.host.bytes(Driver.data + 1, 2) == [54, 1])
        #expect(driver.admin(0x02, 0x03 | 127 << 16)?.status == 0)
        #expect(driver.host.bytes(Driver.data, 1) == [1])
        #expect(driver.admin(0x02, 0x05 | 1023 << 16)?.status == 0)
        #expect(driver.host.bytes(Driver.data + 1024, 1) == [1])
        #expect(driver.admin(0x02, 0x09)?.status == 0x109)
        // An offset: within, unaligned, behind the end.
        #expect(driver.admin(0x02, 0x05, 0, 1024)?.status == 0)
        #expect(driver.host.bytes(Driver.data, 1) == [1])
        #expect(driver.admin(0x02, 0x05, 0, 2)?.status == 0x02)
        #expect(driver.admin(0x02, 0x05, 0, 8192)?.status == 0x02)
        #expect(driver.admin(0x02, 0xffff_0005, 0xffff)?.status == 0x02)
    }

    @Test func events() throws {
        let driver = try Driver()
        for _ in 0..<4 { #expect(driver.admin(0x0c) == nil) }
        #expect(driver.admin(0x0c)?.status == 0x105)
        // A threshold below the temperature; masked until the log is read.
        #expect(driver.admin(0x09, 0x0b, 0x1f | 1 << 8)?.status == 0)
        #expect(driver.admin(0x09, 0x04, 300)?.status == 0)
        #expect(driver.take(0)?.result == 0x0002_0101)
        #expect(driver.admin(0x09, 0x04, 301)?.status == 0)
        driver.controller.process()
        #expect(driver.take(0) == nil)
        #expect(driver.admin(0x02, 0x02 | 127 << 16)?.status == 0)
        #expect(driver.take(0)?.result == 0x0002_0101)
        // The remaining two: the one is aborted, the other told of a doorbell.
        var abort = SubmissionEntry()
        abort.dword0 = 0x08
        abort.dword10 = 3 << 16
        driver.submit(abort, to: 0)
        driver.controller.process()
        #expect(driver.take(0) == Completion(result: 0, head: 10, queue: 0, identifier: 3, status: 0x07))
        #expect(driver.take(0)?.result == 0)
        driver.doorbell(0, 16)
        driver.controller.process()
        driver.controller.process()
        #expect(driver.take(0)?.result == 0x0001_0100)
        #expect(driver.admin(0x08, 4 << 16)?.result == 1)
        #expect(driver.admin(0x08, 99)?.status == 0x02)
    }
}
