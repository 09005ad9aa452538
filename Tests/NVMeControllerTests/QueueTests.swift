import NVMeController
import NVMeStores
import NVMeSupport
import SystemPackage
import Testing

struct QueueTests {
    /// Many times round queues of a few sizes.
    @Test(arguments: [2, 3, 16, 4096] as [UInt32], FakeHost.Mode.allCases)
    func wrapsRound(_ entries: UInt32, _ mode: FakeHost.Mode) throws {
        let driver = try Driver(mode: mode)
        driver.createQueues(entries: entries)
        for _ in 0..<min(3 * entries, 5000) + 1 {
            #expect(driver.call(driver.io(0), on: 1)?.status == 0)
        }
    }

    /// A driver that takes no completions: nothing is overwritten, and the rest comes when there is room.
    @Test func fullCompletionQueue() throws {
        let driver = try Driver()
        driver.createQueues(entries: 4)
        driver.start(2, 16)
        var create = SubmissionEntry()
        create.dword0 = 0x01
        create.prp1 = driver.submissionQueue(2)
        create.dword10 = 2 | 15 << 16
        create.dword11 = 1 | 1 << 16
        #expect(driver.admin(create)?.status == 0)
        for _ in 0..<10 { driver.submit(driver.io(0), to: 2) }
        for _ in 0..<5 { driver.controller.process() }
        var seen: [UInt16] = []
        for _ in 0..<10 {
            var batch: [UInt16] = []
            while let completion = driver.take(1, ring: false) {
                #expect(completion.queue == 2)
                batch.append(completion.identifier)
            }
            #expect(batch.count <= 3)
            seen += batch
            driver.doorbell(3, UInt32(driver.heads[1] ?? 0))
            driver.controller.process()
        }
        #expect(seen.count == 10)
        #expect(Set(seen).count == 10)
    }

    @Test(arguments: [16, 17, .max] as [UInt32])
    func wrongDoorbells(_ value: UInt32) throws {
        let driver = try Driver()
        driver.createQueues()
        driver.doorbell(2, value)
        driver.doorbell(3, value)
        driver.controller.process()
        #expect(driver.take(1) == nil)
        #expect(driver.controller.readRegister(0x1c) == 1)
        driver.doorbell(3, 0)
        #expect(driver.call(driver.io(0), on: 1)?.status == 0)
        // A head in front of the tail, likewise.
        driver.doorbell(3, 7)
        driver.controller.process()
        #expect(driver.admin(0x06, 1)?.status == 0)
    }

    @Test func interruptsOncePerBatch() throws {
        let driver = try Driver()
        driver.createQueues(vector: 5)
        driver.controller.process()
        driver.host.forgetSignals()
        for _ in 0..<8 { driver.submit(driver.io(0), to: 1) }
        driver.controller.process()
        #expect(driver.host.signals == [5])
    }

    @Test func lateStores() throws {
        let store = try LateStore(byteCount: 1 << 20)
        let driver = try Driver(stores: [store]) { $0.slots = 4 }
        driver.createQueues()
        driver.host.put(pattern(512), at: Driver.data)
        for block in 0..<8 { driver.submit(driver.io(1, first: UInt64(block)), to: 1) }
        var taken = 0
        for _ in 0..<8 {
            driver.controller.process()
            while let completion = driver.take(1) {
                #expect(completion.status == 0)
                taken += 1
            }
        }
        #expect(taken == 8)
        // Errors of the store, by what was asked for.
        store.failure = .ioError
        for (opcode, status) in [(1, 0x280), (2, 0x281), (0, 0x280), (8, 0x280), (5, 0x281)]
            as [(UInt32, UInt16)]
        {
            driver.submit(driver.io(opcode), to: 1)
            driver.controller.process()
            driver.controller.process()
            #expect(driver.take(1)?.status == status)
        }
        store.failure = .noSpace
        driver.submit(driver.io(1), to: 1)
        driver.controller.process()
        #expect(driver.take(1)?.status == 0x81)
        #expect(driver.controller.statistics.mediaErrors == 6)
    }

    /// A reset, a deleted queue, a shutdown wait for what is pending; after a reset no completion comes.
    @Test func pendingCommandsAndResets() throws {
        let store = try LateStore(byteCount: 1 << 20)
        let driver = try Driver(stores: [store])
        driver.createQueues()
        store.isHeld = true
        driver.submit(driver.io(1), to: 1)
        driver.controller.process()
        #expect(store.pendingCount == 1)
        // Nothing more is taken from the queue, but what was taken ends before its deletion does.
        #expect(driver.admin(0x00, 1) == nil)
        driver.submit(driver.io(1), to: 1)
        #expect(driver.admin(0x00, 1)?.status == 0x101)
        store.isHeld = false
        driver.controller.process()
        #expect(driver.take(1)?.status == 0)
        #expect(driver.take(1) == nil)
        #expect(driver.take(0)?.status == 0)
        #expect(store.pendingCount == 0)
        #expect(driver.admin(0x04, 1)?.status == 0)
        driver.controller.writeRegister(0x14, 0)
        #expect(driver.controller.readRegister(0x1c) == 0)
        store.isHeld = true
        driver.enable()
        driver.createQueues()
        driver.submit(driver.io(1), to: 1)
        driver.controller.process()
        #expect(store.pendingCount == 1)
        driver.controller.writeRegister(0x14, 0)
        driver.controller.process()
        // Client memory is in use until CSTS.RDY is 0.
        #expect(driver.controller.readRegister(0x1c) == 1)
        store.isHeld = false
        driver.controller.process()
        #expect(driver.controller.readRegister(0x1c) == 0)
        #expect(driver.take(1) == nil)
        #expect(store.flushes == 0)
        driver.enable()
        driver.createQueues()
        store.isHeld = true
        driver.submit(driver.io(1), to: 1)
        driver.controller.process()
        driver.controller.writeRegister(0x14, 0x0046_4001)
        driver.controller.process()
        #expect(driver.controller.readRegister(0x1c) == 1 | 1 << 2)
        #expect(store.flushes == 0)
        store.isHeld = false
        for _ in 0..<3 { driver.controller.process() }
        #expect(driver.controller.readRegister(0x1c) == 1 | 2 << 2)
        #expect(store.flushes == 1)
    }

    @Test func writeCacheSwitchedOff() throws {
        let store = try LateStore(byteCount: 1 << 20, isLate: false)
        let driver = try Driver(stores: [store])
        driver.createQueues()
        #expect(driver.call(driver.io(1), on: 1)?.status == 0)
        #expect(store.durableWrites == 0)
        #expect(driver.call(driver.io(1, flags: 1 << 30), on: 1)?.status == 0)
        #expect(store.durableWrites == 1)
        #expect(driver.admin(0x09, 0x06, 0)?.status == 0)
        #expect(store.flushes == 1)
        #expect(driver.admin(0x0a, 0x06)?.result == 0)
        #expect(driver.call(driver.io(1), on: 1)?.status == 0)
        #expect(store.durableWrites == 2)
    }

    @Test(arguments: [true, false])
    func shadowDoorbells(_ isPolled: Bool) throws {
        let driver = try Driver { $0.isPolled = isPolled }
        driver.createQueues()
        let tails = FakeHost.base + 0x60_0000
        let events = tails + 0x1000
        #expect(driver.admin(0x7c, prp1: tails + 4, prp2: events)?.status == 0x02)
        #expect(driver.admin(0x7c, prp1: tails, prp2: 0)?.status == 0x02)
        #expect(driver.admin(0x7c, prp1: tails, prp2: events)?.status == 0)
        for turn in 1...20 as ClosedRange<UInt32> {
            driver.submit(driver.io(0), to: 1, ring: false)
            driver.host.put(turn % 16, at: tails + 8)
            driver.controller.process()
            #expect(driver.take(1, ring: false)?.status == 0)
            driver.host.put(turn % 16, at: tails + 12)
            #expect(driver.host.word(events + 8) & 0xffff_ffff == (isPolled ? 0 : UInt64(turn % 16)))
        }
        // What the device writes there is client memory like any other.
        driver.host.forgetWritten()
        driver.createQueues(2)
        driver.submit(driver.io(0), to: 1, ring: false)
        driver.host.put(UInt32(21 % 16), at: tails + 8)
        driver.controller.process()
        #expect(driver.take(1, ring: false)?.status == 0)
        for place in [tails + 16, tails + 20, events + 16, events + 20]
            + (isPolled ? [] : [events + 8, events + 12])
        {
            #expect(driver.host.written.contains { $0.0 == place && $0.1 == 4 })
        }
        driver.host.forgetWritten()
        #expect(driver.admin(0x7c, prp1: tails, prp2: events)?.status == 0)
        for place in [tails, events + 12] {
            #expect(driver.host.written.contains { $0.0 == place })
        }
        // The pages move away, and come back.
        driver.controller.memoryChanged()
        driver.host.mode = .messages
        driver.controller.process()
        driver.host.mode = .direct
        driver.controller.memoryChanged()
        driver.submit(driver.io(0), to: 1, ring: false)
        driver.host.put(UInt32(22 % 16), at: tails + 8)
        driver.controller.process()
        #expect(driver.take(1, ring: false)?.status == 0)
    }

    /// The client goes at every possible copy.
    @Test func clientGoesInTheMiddle() throws {
        for step in 1...40 {
            let driver = try Driver(
                stores: [LateStore(byteCount: 1 << 20, isLate: step % 2 == 0)], mode: .messages)
            driver.createQueues()
            driver.host.failingCopies = step
            for opcode in [1, 2, 5, 0, 9, 2] as [UInt32] {
                driver.submit(driver.io(opcode, blocks: 16), to: 1)
            }
            for _ in 0..<10 { driver.controller.process() }
            #expect(!driver.controller.isBusy)
            driver.host.failingCopies = 0
            driver.controller.writeRegister(0x14, 0)
            driver.enable()
            #expect(driver.admin(0x06, 1)?.status == 0)
        }
    }

    /// Random commands with random fields on both kinds of queue.
    @Test func randomCommands() throws {
        let seed = UInt64.random(in: 0...(.max))
        var random = Random(state: seed)
        for mode in FakeHost.Mode.allCases {
            let driver = try Driver(
                stores: [MemoryStore(byteCount: 1 << 20), LateStore(byteCount: 1 << 20)], mode: mode)
            driver.createQueues()
            for _ in 0..<3000 {
                let entry = randomEntry(&random)
                driver.submit(entry, to: UInt16(random.next() % 2))
                if random.next() % 64 == 0 {
                    driver.doorbell(Int(random.next() % 8), UInt32(random.next() % 20))
                }
                if random.next() % 64 == 0 { driver.controller.memoryChanged() }
                driver.controller.process()
                while driver.take(0) != nil {}
                while driver.take(1) != nil {}
            }
            driver.controller.writeRegister(0x14, 0)
            driver.enable()
            #expect(driver.admin(0x06, 1)?.status == 0, "seed \(seed)")
        }
    }

    private func randomEntry(_ random: inout Random) -> SubmissionEntry {
        func value() -> UInt64 {
            switch random.next() % 5 {
            case 0: 0
            case 1: random.next() % 20
            case 2: Driver.data + random.next() % 512 * 4096
            case 3: UInt64.max - random.next() % 3
            default: random.next()
            }
        }
        var entry = SubmissionEntry()
        let opcodes: [UInt32] = [0, 1, 2, 4, 5, 6, 8, 9, 0x0a, 0x0c, 0x7c, 0x80]
        entry.dword0 = opcodes[Int(random.next() % 12)]
        entry.namespace = UInt32(truncatingIfNeeded: random.next() % 4 == 0 ? value() : random.next() % 3)
        entry.prp1 = value()
        entry.prp2 = value()
        entry.dword10 = UInt32(truncatingIfNeeded: value())
        entry.dword11 = UInt32(truncatingIfNeeded: value())
        entry.dword12 = UInt32(truncatingIfNeeded: value())
        entry.dword13 = UInt32(truncatingIfNeeded: value())
        return entry
    }
}

/// SplitMix64.
struct Random {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
        return z ^ z >> 31
    }
}
