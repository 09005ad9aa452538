import NVMeController
import NVMeStores
import NVMeSupport
import Testing

/// Registers that the client writes in the middle of a copy of its memory, which a host may let it do.
@Suite struct CrossingTests {
    /// Six commands, of which one meets these writes at some copy.
    private func play(_ step: Int, late: Bool, _ writes: [(offset: Int, value: UInt32)]) throws -> Driver {
        let driver = try Driver(
            stores: [LateStore(byteCount: 1 << 20, isLate: late)], mode: .messages)
        driver.createQueues()
        // The writes before change nothing.
        driver.host.crossingWrites = Array(repeating: (0x20, 0), count: step) + writes
        for opcode in [1, 2, 5, 0, 9, 2] as [UInt32] {
            driver.submit(driver.io(opcode, blocks: 8), to: 1)
        }
        for _ in 0..<10 { driver.controller.process() }
        return driver
    }

    /// The client disables the controller: no command goes on, and everything starts anew.
    @Test(arguments: [true, false]) func disabled(late: Bool) throws {
        for step in 0..<30 {
            let driver = try play(step, late: late, [(0x14, 0)])
            #expect(!driver.controller.isBusy)
            guard driver.host.crossingWrites.isEmpty else { continue }
            #expect(driver.controller.readRegister(0x1c) == 0)
            driver.enable()
            #expect(driver.admin(0x06, 1)?.status == 0)
        }
    }

    /// It disables and enables it, with the same queues, before the copy is done.
    @Test(arguments: [true, false]) func enabledAnew(late: Bool) throws {
        for step in 0..<30 {
            let driver = try play(step, late: late, [(0x14, 0), (0x14, 0x0046_0001)])
            driver.host.crossingWrites = []
            #expect(!driver.controller.isBusy)
            driver.controller.writeRegister(0x14, 0)
            driver.enable()
            #expect(driver.admin(0x06, 1)?.status == 0)
        }
    }

    /// It shuts the controller down: what is under way ends, and then the shutdown is complete.
    @Test(arguments: [true, false]) func shutDown(late: Bool) throws {
        for step in 0..<30 {
            let driver = try play(step, late: late, [(0x14, 0x0046_4001)])
            guard driver.host.crossingWrites.isEmpty else { continue }
            for _ in 0..<10 { driver.controller.process() }
            #expect(driver.controller.readRegister(0x1c) >> 2 & 3 == 2)
            #expect(!driver.controller.isBusy)
        }
    }

    /// Doorbells: what they tell of is done as ever, and those of queues that there are not are reported.
    @Test(arguments: [true, false]) func doorbells(late: Bool) throws {
        for step in 0..<20 {
            let driver = try play(step, late: late, [(0x1000 + 4 * 2, 6), (0x1000 + 4 * 40, 1)])
            for _ in 0..<10 { driver.controller.process() }
            for _ in 0..<6 { #expect(driver.take(1)?.status == 0) }
            #expect(driver.take(1) == nil)
            #expect(driver.admin(0x06, 1)?.status == 0)
        }
    }

    /// Interrupts are masked and unmasked.
    @Test func interruptMasks() throws {
        for step in 0..<20 {
            let driver = try play(step, late: false, [(0x0c, .max), (0x10, .max)])
            for _ in 0..<6 { #expect(driver.take(1)?.status == 0) }
            if driver.host.crossingWrites.isEmpty { #expect(driver.controller.readRegister(0x0c) == 0) }
        }
    }

    /// A doorbell is rung at any copy of a turn, the last included: the command is not left for a turn that nobody has
    /// a reason to take.
    @Test func rungInTheMiddleOfATurn() throws {
        var crossed = 0
        for step in 0..<30 {
            let driver = try Driver(mode: .messages)
            driver.createQueues()
            driver.host.crossingWrites = Array(repeating: (0x20, 0), count: step) + [(0x1000 + 4 * 2, 2)]
            driver.submit(driver.io(2, blocks: 8), to: 1)
            driver.submit(driver.io(2, blocks: 8), to: 1, ring: false)
            let (hasWorked, mayHaveMore) = driver.controller.processAll(limit: 64)
            #expect(hasWorked && !mayHaveMore)
            guard driver.host.crossingWrites.isEmpty else { continue }
            crossed += 1
            for _ in 0..<2 { #expect(driver.take(1)?.status == 0, "\(step)") }
        }
        #expect(crossed > 0)
    }

    /// A turn that carried out nothing is followed by another if a register was written in the middle of it: while it
    /// told of an event, here.
    @Test func rungInATurnThatDoesNothing() throws {
        let driver = try Driver(mode: .messages)
        driver.createQueues()
        var request = SubmissionEntry()
        request.dword0 = 0x0c
        driver.submit(request, to: 0)
        _ = driver.controller.processAll(limit: 64)
        #expect(driver.take(0) == nil)
        driver.submit(driver.io(2, blocks: 8), to: 1, ring: false)
        // There are 16 entries.
        driver.controller.writeRegister(0x1000 + 4 * 2, 16)
        driver.host.crossingWrites = [(0x1000 + 4 * 2, 1)]
        _ = driver.controller.processAll(limit: 64)
        #expect(driver.take(0)?.result == 0x1_0100)
        #expect(driver.take(1)?.status == 0)
    }

    /// More than the turns were enough for is told of.
    @Test func turnsThatDoNotSuffice() throws {
        let driver = try Driver()
        driver.createQueues()
        driver.submit(driver.io(2, blocks: 8), to: 1)
        #expect(driver.controller.processAll(limit: 1) == (true, true))
        #expect(driver.controller.processAll(limit: 1) == (false, false))
        #expect(driver.take(1)?.status == 0)
    }
}
