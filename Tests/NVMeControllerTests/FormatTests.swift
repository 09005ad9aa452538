import NVMeController
import NVMeStores
import NVMeSupport
import SystemPackage
import Testing

/// Format NVM.
struct FormatTests {
    /// Blocks of namespace 1, by Identify.
    private func blockCount(_ driver: Driver) -> UInt64 {
        #expect(driver.admin(0x06, namespace: 1, 0)?.status == 0)
        return driver.host.word(Driver.data)
    }

    @Test func format() throws {
        let driver = try Driver()
        driver.createQueues()
        driver.host.put(pattern(4096), at: Driver.data)
        #expect(driver.call(driver.io(1), on: 1)?.status == 0)
        #expect(driver.admin(0x80, namespace: 1, 2)?.status == 0x10a)
        #expect(driver.admin(0x80, namespace: 1, 1 << 5)?.status == 0x10a)
        #expect(driver.admin(0x80, namespace: 1, 2 << 9)?.status == 0x02)
        #expect(driver.admin(0x80, namespace: 3, 0)?.status == 0x0b)
        #expect(driver.admin(0x80, namespace: 1, 1)?.status == 0)
        #expect(blockCount(driver) == 1024)
        #expect(driver.call(driver.io(2), on: 1)?.status == 0)
        #expect(driver.host.bytes(Driver.data, 4096).allSatisfy { $0 == 0 })
        #expect(driver.admin(0x02, 0x04)?.status == 0)
        #expect(driver.host.bytes(Driver.data, 4) == [1, 0, 0, 0])
    }

    /// While a store is at work on it, only the namespace's own commands have to come back later.
    @Test func inProgress() throws {
        let stores = try (0..<2).map { _ in try LateStore(byteCount: 1 << 20) }
        let driver = try Driver(stores: stores)
        driver.createQueues()
        stores[0].isHeld = true
        #expect(driver.admin(0x80, namespace: 1, 1) == nil)
        #expect(stores[0].pendingCount == 1)
        driver.host.put(UInt32(1), at: Driver.data + 4)
        var manage = driver.io(9)
        manage.dword10 = 0
        manage.dword11 = 4
        for entry in [0, 1, 2, 5, 8, 0x0c].map({ driver.io($0) }) + [driver.io(0, namespace: .max), manage] {
            #expect(driver.call(entry, on: 1)?.status == 0x84)
        }
        #expect(driver.admin(0x80, namespace: .max, 1)?.status == 0x84)
        #expect(driver.call(driver.io(1, namespace: 2), on: 1)?.status == 0)
        #expect(blockCount(driver) == 2048)
        #expect(stores[0].pendingCount == 1 && stores[0].flushes == 0)
        stores[0].isHeld = false
        for _ in 0..<2 { driver.controller.process() }
        #expect(driver.take(0)?.status == 0)
        #expect(stores.map(\.flushes) == [1, 0])
        #expect(blockCount(driver) == 256)
        #expect(driver.call(driver.io(2), on: 1)?.status == 0)
        stores[0].failure = .ioError
        #expect(driver.admin(0x80, namespace: .max, 0)?.status == 0x06)
        stores[0].failure = nil
        #expect(blockCount(driver) == 256)
        #expect(driver.call(driver.io(2), on: 1)?.status == 0)
    }

    /// What was begun before is done first.
    @Test func commandsOfBefore() throws {
        let store = try LateStore(byteCount: 1 << 20)
        let driver = try Driver(stores: [store])
        driver.createQueues()
        driver.host.put(pattern(512), at: Driver.data)
        store.isHeld = true
        driver.submit(driver.io(1), to: 1)
        driver.controller.process()
        #expect(driver.admin(0x80, namespace: 1, 0) == nil)
        #expect(driver.call(driver.io(2), on: 1)?.status == 0x84)
        #expect(store.pendingCount == 1)
        // Nothing is begun while memory may be about to change.
        driver.controller.pause()
        store.isHeld = false
        for _ in 0..<2 { driver.controller.process() }
        #expect(driver.take(1)?.status == 0)
        #expect(driver.take(0) == nil && !driver.controller.isBusy)
        driver.controller.resume()
        for _ in 0..<2 { driver.controller.process() }
        #expect(driver.take(0)?.status == 0)
        #expect(driver.call(driver.io(2), on: 1)?.status == 0)
        #expect(driver.host.bytes(Driver.data, 512).allSatisfy { $0 == 0 })
    }

    /// Neither a reset nor a change of memory waits for a store that formats; it goes on under the next client.
    @Test func nobodyWaits() throws {
        let store = try LateStore(byteCount: 1 << 20)
        let driver = try Driver(stores: [store])
        driver.createQueues()
        store.isHeld = true
        #expect(driver.admin(0x80, namespace: 1, 1) == nil)
        driver.controller.pause()
        #expect(driver.controller.isBusy && !driver.controller.isUsingMemory)
        driver.controller.finishPending()
        #expect(store.pendingCount == 1)
        // Its completion will go where the admin queue is then.
        #expect(!driver.controller.usesCopies)
        driver.host.remote = driver.completionQueue(0)..<driver.completionQueue(0) + 0x1000
        driver.controller.memoryChanged()
        driver.controller.resume()
        #expect(driver.controller.usesCopies)
        for isControllerReset in [true, false] {
            isControllerReset ? driver.controller.writeRegister(0x14, 0) : driver.controller.reset()
            #expect(driver.controller.readRegister(0x1c) == 0)
            #expect(store.pendingCount == 1)
            driver.enable()
            driver.createQueues()
            #expect(driver.call(driver.io(2), on: 1)?.status == 0x84)
        }
        store.isHeld = false
        driver.controller.process()
        #expect(driver.take(0) == nil)
        #expect(driver.call(driver.io(2), on: 1)?.status == 0)
        #expect(blockCount(driver) == 256)
        #expect(!driver.controller.isBusy)
    }

    /// A reset forgets one that has not begun, and has its slot back.
    @Test func forgotten() throws {
        let store = try LateStore(byteCount: 1 << 20)
        let driver = try Driver(stores: [store]) { $0.slots = 4 }
        for _ in 0..<8 {
            driver.createQueues()
            store.isHeld = true
            driver.submit(driver.io(1), to: 1)
            driver.controller.process()
            #expect(driver.admin(0x80, namespace: 1, 1) == nil)
            driver.controller.writeRegister(0x14, 0)
            store.isHeld = false
            driver.controller.process()
            #expect(driver.controller.readRegister(0x1c) == 0)
            driver.enable()
        }
        driver.createQueues()
        #expect(driver.call(driver.io(2), on: 1)?.status == 0)
        #expect(blockCount(driver) == 2048)
        store.isHeld = true
        for _ in 0..<4 { driver.submit(driver.io(1), to: 1) }
        driver.controller.process()
        #expect(store.pendingCount == 4)
    }

    /// The end of the process is not in such a hurry.
    @Test func finished() throws {
        let store = try LateStore(byteCount: 1 << 20)
        let driver = try Driver(stores: [store])
        store.isHeld = true
        #expect(driver.admin(0x80, namespace: 1, 1) == nil)
        #expect(driver.controller.finish() == nil)
        #expect(driver.take(0)?.status == 0)
        #expect(!driver.controller.isBusy)
    }
}
