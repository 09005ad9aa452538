import NVMeController
import NVMeSupport
import Testing

struct RegisterTests {
    @Test func capabilities() throws {
        let driver = try Driver(enable: false)
        let controller = driver.controller
        #expect(controller.readRegister(0) & 0xffff == 4095)
        #expect(controller.readRegister(0) >> 16 & 1 == 1)
        #expect(controller.readRegister(4) == 0x20)
        #expect(controller.readRegister(8) == 0x10400)
        #expect(controller.readRegister(0x1c) == 0)
    }

    @Test func enableDisableShutdown() throws {
        let driver = try Driver()
        let controller = driver.controller
        #expect(controller.readRegister(0x1c) == 1)
        driver.createQueues()
        controller.writeRegister(0x14, 0x0046_4001)
        #expect(controller.readRegister(0x1c) >> 2 & 3 == 1)
        controller.process()
        #expect(controller.readRegister(0x1c) == 1 | 2 << 2)
        controller.writeRegister(0x14, 0x0046_0000)
        #expect(controller.readRegister(0x1c) == 0)
        #expect(controller.readRegister(0x28) == UInt32(truncatingIfNeeded: driver.submissionQueue(0)))
        #expect(controller.statistics.unsafeShutdowns == 0)
        driver.enable()
        #expect(driver.admin(0x06, 1)?.status == 0)
        controller.writeRegister(0x14, 0)
        // A controller reset is no loss of power; a device reset is.
        #expect(controller.statistics.unsafeShutdowns == 0)
        #expect(controller.statistics.powerCycles == 1)
        driver.enable()
        controller.reset()
        #expect(controller.statistics.unsafeShutdowns == 1)
        driver.enable()
        #expect(controller.statistics.powerCycles == 2)
    }

    /// Page size, arbitration, command set.
    @Test(arguments: [0x0046_0081, 0x0046_0801, 0x0046_0011] as [UInt32])
    func fatalConfiguration(_ configuration: UInt32) throws {
        let driver = try Driver(enable: false)
        driver.controller.writeRegister(0x24, 0x000f_000f)
        driver.controller.writeRegister(0x14, configuration)
        #expect(driver.controller.readRegister(0x1c) == 2)
        driver.controller.writeRegister(0x14, 0)
        #expect(driver.controller.readRegister(0x1c) == 0)
        driver.enable()
        #expect(driver.controller.readRegister(0x1c) == 1)
        #expect(driver.admin(0x06, 1)?.status == 0)
    }

    @Test func queueOutsideMemoryIsFatal() throws {
        let driver = try Driver()
        driver.controller.writeRegister(0x14, 0)
        driver.controller.writeRegister(0x2c, 0xffff_ffff)
        driver.controller.writeRegister(0x14, 0x0046_0001)
        driver.doorbell(0, 1)
        driver.controller.process()
        #expect(driver.controller.readRegister(0x1c) == 3)
        driver.controller.writeRegister(0x14, 0)
        driver.enable()
        #expect(driver.admin(0x06, 1)?.status == 0)
    }

    @Test func everyOffsetCanBeReadAndWritten() throws {
        let driver = try Driver()
        for offset in stride(from: 0, to: 0x3000, by: 4) {
            _ = driver.controller.readRegister(offset)
            driver.controller.writeRegister(offset, .max)
            driver.controller.process()
        }
    }

    @Test func level() throws {
        let driver = try Driver()
        driver.host.hasVectors = false
        driver.createQueues(vector: 0)
        driver.controller.process()
        driver.host.forgetSignals()
        driver.submit(driver.io(0), to: 1)
        driver.controller.process()
        #expect(driver.host.signals == [0])
        driver.controller.process()
        #expect(driver.host.signals == [0])
        // Still asserted when it is serviced.
        driver.controller.interruptServiced()
        driver.controller.process()
        #expect(driver.host.signals == [0, 0])
        #expect(driver.take(1) != nil)
        driver.controller.interruptServiced()
        driver.controller.process()
        #expect(driver.host.signals == [0, 0])
        // Masked, it stays low.
        driver.controller.writeRegister(0x0c, 1)
        driver.submit(driver.io(0), to: 1)
        driver.controller.process()
        #expect(driver.host.signals == [0, 0])
        driver.controller.writeRegister(0x10, 1)
        driver.controller.process()
        #expect(driver.host.signals == [0, 0, 0])
    }

    /// A doorbell by which the level falls takes the signal back before the client's write is answered.
    @Test func fallenLevel() throws {
        let driver = try Driver()
        driver.host.hasVectors = false
        driver.createQueues(vector: 0)
        driver.controller.process()
        driver.host.forgetSignals()
        driver.submit(driver.io(0), to: 1)
        driver.controller.process()
        let before = driver.host.withdrawals
        driver.controller.process()
        #expect(driver.host.withdrawals == before)
        // The head of completion queue 1.
        driver.controller.writeRegister(0x100c, 1)
        #expect(driver.host.withdrawals == before + 1)
        #expect(driver.take(1) != nil)
        driver.controller.process()
        #expect(driver.host.withdrawals == before + 1)
        // The next one is signalled anew.
        driver.submit(driver.io(0), to: 1)
        driver.controller.process()
        #expect(driver.host.signals == [0, 0])
    }
}
