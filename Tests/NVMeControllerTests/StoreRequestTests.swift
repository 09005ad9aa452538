import NVMeController
import NVMeStores
import NVMeSupport
import SystemPackage
import Testing

/// Commands that are several requests, or are carried out later.
struct StoreRequestTests {
    private func finish(_ driver: Driver) -> UInt16? {
        for _ in 0..<4 { driver.controller.process() }
        return driver.take(1)?.status
    }

    /// Force Unit Access, and a cache that is off, hold for Write Zeroes as well.
    @Test func durableZeroes() throws {
        let store = try LateStore(byteCount: 1 << 20)
        let driver = try Driver(stores: [store])
        driver.createQueues()
        driver.submit(driver.io(8, blocks: 8), to: 1)
        #expect(finish(driver) == 0)
        #expect(store.flushes == 0)
        driver.submit(driver.io(8, blocks: 8, flags: 1 << 30), to: 1)
        #expect(finish(driver) == 0)
        #expect(store.flushes == 1)
        #expect(driver.admin(0x09, 0x06, 0)?.status == 0)
        driver.submit(driver.io(8, blocks: 8, flags: 1 << 25), to: 1)
        #expect(finish(driver) == 0)
        #expect(store.flushes == 3)
        #expect(!driver.controller.isBusy)
    }

    /// All parts are under way at once, and one failure is the command's.
    @Test func severalRequests() throws {
        let stores = try (0..<3).map { _ in try LateStore(byteCount: 4 << 20) }
        let driver = try Driver(stores: stores)
        driver.createQueues()
        for store in stores { store.isHeld = true }
        driver.submit(driver.io(0, namespace: .max), to: 1)
        driver.submit(driver.io(0x0c, blocks: 0x2000), to: 1)
        var manage = driver.io(9)
        manage.dword10 = 2
        manage.dword11 = 4
        for place in 0..<3 as Range<UInt64> {
            driver.host.put(UInt32(place), at: Driver.data + place * 16 + 4)
            driver.host.put(place * 100, at: Driver.data + place * 16 + 8)
        }
        driver.submit(manage, to: 1)
        driver.controller.process()
        // A flush of each; four parts of 1 MiB; the two ranges that are not empty.
        #expect(stores.map(\.pendingCount) == [1 + 4 + 2, 1, 1])
        #expect(driver.take(1) == nil)
        stores[0].isHeld = false
        driver.controller.process()
        #expect([driver.take(1)?.status, driver.take(1)?.status] == [0, 0])
        #expect(driver.take(1) == nil)
        stores[1].isHeld = false
        stores[2].isHeld = false
        stores[2].failure = .ioError
        driver.controller.process()
        #expect(driver.take(1)?.status == 0x280)
        #expect(!driver.controller.isBusy)
        stores[0].failure = .noSpace
        driver.submit(manage, to: 1)
        #expect(finish(driver) == 0x81)
    }

    /// Memory goes while a store is at work: nothing is begun and the work ends first, and later commands find it gone.
    @Test(arguments: FakeHost.Mode.allCases)
    func memoryGoes(_ mode: FakeHost.Mode) throws {
        let store = try LateStore(byteCount: 1 << 20)
        let driver = try Driver(stores: [store], mode: mode)
        driver.createQueues()
        store.isHeld = true
        driver.host.put([UInt8](repeating: 0xee, count: 4096), at: Driver.data)
        driver.submit(driver.io(2), to: 1)
        driver.controller.process()
        #expect(store.pendingCount == 1)
        driver.controller.pause()
        driver.submit(driver.io(2), to: 1)
        driver.controller.process()
        #expect(driver.controller.isBusy && store.pendingCount == 1)
        store.isHeld = false
        driver.controller.process()
        #expect(!driver.controller.isBusy && store.pendingCount == 0)
        #expect(driver.host.bytes(Driver.data, 512).allSatisfy { $0 == 0 })
        #expect(driver.take(1)?.status == 0)
        driver.host.put([UInt8](repeating: 0xee, count: 4096), at: Driver.data)
        driver.host.hidden = Driver.data..<Driver.data + 4096
        driver.controller.memoryChanged()
        driver.controller.resume()
        #expect(finish(driver) == 0x04)
        for opcode in [1, 2, 5] as [UInt32] {
            driver.submit(driver.io(opcode), to: 1)
            #expect(finish(driver) == 0x04)
        }
        #expect(driver.host.bytes(Driver.data, 512).allSatisfy { $0 == 0xee })
    }

    /// A reset forgets a queue's deletion that waits for its commands, and has its slot back.
    @Test func deletionForgotten() throws {
        let store = try LateStore(byteCount: 1 << 20)
        let driver = try Driver(stores: [store]) { $0.slots = 4 }
        for _ in 0..<8 {
            driver.createQueues()
            store.isHeld = true
            driver.submit(driver.io(1), to: 1)
            driver.controller.process()
            #expect(driver.admin(0x00, 1) == nil)
            driver.controller.writeRegister(0x14, 0)
            store.isHeld = false
            driver.controller.process()
            #expect(driver.controller.readRegister(0x1c) == 0)
            driver.enable()
        }
        driver.createQueues()
        store.isHeld = true
        for _ in 0..<4 { driver.submit(driver.io(1), to: 1) }
        driver.controller.process()
        #expect(store.pendingCount == 4)
    }

    /// The client goes when one queue's completions are written for those of another: nothing is left for the next one.
    @Test func clientGoesBetweenQueues() throws {
        let store = try LateStore(byteCount: 1 << 20)
        let driver = try Driver(stores: [store], mode: .messages)
        driver.createQueues(1)
        driver.createQueues(2)
        store.isHeld = true
        driver.submit(driver.io(1), to: 1)
        driver.submit(driver.io(1), to: 2)
        driver.controller.process()
        #expect(store.pendingCount == 2)
        store.isHeld = false
        driver.host.failingCopies = 1
        driver.controller.process()
        #expect(driver.host.failingCopies == 0)
        #expect(driver.controller.readRegister(0x1c) == 0)
        driver.enable()
        #expect(driver.controller.readRegister(0x1c) == 1)
        #expect(driver.admin(0x06, 1)?.status == 0)
    }

    /// A shutdown of a disabled controller that is still under way when it is enabled is not told of.
    @Test(arguments: [true, false])
    func enabledWhileShuttingDown(_ isBegun: Bool) throws {
        let store = try LateStore(byteCount: 1 << 20)
        let driver = try Driver(stores: [store], enable: false)
        store.isHeld = true
        driver.controller.writeRegister(0x14, 0x4000)
        if isBegun { driver.controller.process() }
        #expect(store.pendingCount == (isBegun ? 1 : 0))
        driver.enable()
        driver.createQueues()
        store.isHeld = false
        for _ in 0..<3 { driver.controller.process() }
        #expect(driver.controller.readRegister(0x1c) == 1)
        // Its end is none of the admin queue's commands.
        driver.controller.writeRegister(0x14, 0x0046_4001)
        for _ in 0..<3 { driver.controller.process() }
        #expect(driver.controller.readRegister(0x1c) == 1 | 2 << 2)
        #expect(!driver.controller.isBusy)
    }

    /// Tracking that begins when the controller has quiesced, after turns it took meanwhile.
    @Test func trackingBegins() throws {
        let store = try LateStore(byteCount: 1 << 20)
        let driver = try Driver(stores: [store])
        driver.host.tracksWrites = false
        driver.createQueues()
        store.isHeld = true
        driver.submit(driver.io(2), to: 1)
        driver.controller.process()
        driver.controller.pause()
        driver.controller.process()
        store.isHeld = false
        driver.controller.process()
        #expect(!driver.controller.isBusy && driver.host.written.isEmpty)
        driver.controller.resume()
        driver.host.tracksWrites = true
        driver.submit(driver.io(2), to: 1)
        driver.controller.process()
        #expect(driver.host.written.contains { $0.0 == Driver.data && $0.1 == 512 })
        #expect(driver.host.written.contains { $0.0 == driver.completionQueue(1) + 16 })
    }

    /// Whoever has to quiesce knows that completions go by messages as soon as a command is begun, also if only the queue
    /// for them does.
    @Test(arguments: [0, 0x80] as [UInt64])
    func remoteCompletions(_ offset: UInt64) throws {
        let store = try LateStore(byteCount: 1 << 20)
        let driver = try Driver(stores: [store])
        driver.createQueues()
        driver.host.remote = driver.completionQueue(1) + offset..<driver.completionQueue(1) + 0x1000
        driver.controller.memoryChanged()
        #expect(!driver.controller.usesCopies)
        store.isHeld = true
        driver.submit(driver.io(2), to: 1)
        driver.controller.process()
        #expect(driver.controller.isBusy && driver.controller.usesCopies)
        driver.controller.finishPending()
        #expect(driver.take(1)?.status == 0)
        driver.controller.memoryChanged()
        #expect(!driver.controller.usesCopies)
    }

    /// Completions that only messages reach are put off while the controller is paused, when none can be sent.
    @Test(arguments: [0, 0x80] as [UInt64])
    func remoteCompletionsWhilePaused(_ offset: UInt64) throws {
        let store = try LateStore(byteCount: 1 << 20)
        let driver = try Driver(stores: [store])
        driver.createQueues()
        driver.host.remote = driver.completionQueue(1) + offset..<driver.completionQueue(1) + 0x1000
        driver.controller.memoryChanged()
        store.isHeld = true
        // As many as are written together.
        for _ in 0..<3 { driver.submit(driver.io(2), to: 1) }
        driver.controller.process()
        driver.host.interruptedCopies = 0..<Int.max
        driver.controller.pause()
        #expect(driver.controller.isUsingMemory)
        store.isHeld = false
        driver.controller.process()
        #expect(!driver.controller.isUsingMemory && driver.take(1) == nil)
        driver.controller.memoryChanged()
        driver.controller.resume()
        driver.host.interruptedCopies = 0..<0
        driver.controller.process()
        for _ in 0..<3 { #expect(driver.take(1)?.status == 0) }
        #expect(driver.take(1) == nil)
    }

    /// Nobody is told of events while the controller is paused: the admin queue may be one for messages.
    @Test func eventsWhilePaused() throws {
        let driver = try Driver()
        #expect(driver.admin(0x0c) == nil)
        driver.controller.pause()
        // A doorbell of a queue that is not there.
        driver.controller.writeRegister(0x1010, 3)
        driver.controller.process()
        #expect(driver.take(0) == nil)
        driver.controller.resume()
        driver.controller.process()
        #expect(driver.take(0)?.result == 0x1_0000)
    }

    /// A client that enables the controller again while it waits for stores, or has it shut down then, makes nobody wait.
    @Test func enabledWhileDisabling() throws {
        let store = try LateStore(byteCount: 1 << 20)
        let driver = try Driver(stores: [store])
        for isShutDown in [false, true] {
            driver.createQueues()
            store.isHeld = true
            driver.submit(driver.io(2), to: 1)
            driver.controller.process()
            driver.controller.writeRegister(0x14, 0)
            driver.enable()
            if isShutDown { driver.controller.writeRegister(0x14, 0x0046_4001) }
            #expect(store.pendingCount == 1)
            store.isHeld = false
            for _ in 0..<3 { driver.controller.process() }
            #expect(driver.controller.readRegister(0x1c) == (isShutDown ? 1 | 2 << 2 : 1))
            #expect(driver.take(1) == nil && !driver.controller.isBusy)
        }
        // Disabled again before that.
        driver.controller.writeRegister(0x14, 0)
        driver.enable()
        driver.createQueues()
        store.isHeld = true
        driver.submit(driver.io(2), to: 1)
        driver.controller.process()
        for _ in 0..<2 {
            driver.controller.writeRegister(0x14, 0)
            driver.enable()
        }
        driver.controller.writeRegister(0x14, 0)
        store.isHeld = false
        driver.controller.process()
        #expect(driver.controller.readRegister(0x1c) == 0)
        driver.enable()
        #expect(driver.admin(0x06, 1)?.status == 0)
    }

    /// The cache is emptied by stores that take their time.
    @Test func cacheEmptied() throws {
        let store = try LateStore(byteCount: 1 << 20)
        let driver = try Driver(stores: [store])
        driver.createQueues()
        store.isHeld = true
        #expect(driver.admin(0x09, 0x06, 0) == nil)
        driver.submit(driver.io(1), to: 1)
        driver.controller.process()
        #expect(store.pendingCount == 2 && store.durableWrites == 1)
        store.isHeld = false
        driver.controller.process()
        #expect(driver.take(0)?.status == 0)
        #expect(driver.admin(0x0a, 0x06)?.result == 0)
        #expect(driver.admin(0x09, 0x06, 1)?.status == 0)
        store.failure = .ioError
        #expect(driver.admin(0x09, 0x06, 0)?.status == 0x06)
        #expect(driver.admin(0x0a, 0x06)?.result == 1)
    }
}
