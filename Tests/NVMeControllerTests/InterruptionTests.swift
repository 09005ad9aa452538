import NVMeController
import NVMeStores
import NVMeSupport
import Testing

/// Copies of client memory that cannot be made for the moment, since a request of the client's comes first: nothing is lost
/// or done wrong by that, and nothing fails.
@Suite struct InterruptionTests {
    struct Way: CustomTestStringConvertible, Sendable {
        let late: Bool
        let length: Int
        /// Client memory changes meanwhile, for which the controller is paused.
        let changes: Bool
        var testDescription: String {
            "\(late ? "late" : "at once"), \(length) copies\(changes ? ", memory changes" : "")"
        }
    }

    static let ways = [true, false].flatMap { late in
        [1, 2, 7].flatMap { length in
            [true, false].map { Way(late: late, length: length, changes: $0) }
        }
    }

    /// Turns until nothing is left to do, as a server takes them.
    private func work(_ driver: Driver, changes: Bool) {
        for _ in 0..<40 {
            _ = driver.controller.processAll(limit: 16)
            guard changes, driver.controller.wasInterrupted else { continue }
            driver.controller.pause()
            while driver.controller.isUsingMemory { driver.controller.process() }
            driver.controller.memoryChanged()
            driver.controller.resume()
        }
    }

    /// Two pages behind a list of PRPs, and less than a page.
    private func commands(_ driver: Driver) -> [SubmissionEntry] {
        driver.host.put(pattern(3 * 4096, seed: 5), at: Driver.data)
        for page in UInt64(0)..<2 {
            let address = Driver.data + (page + 1) * 4096
            driver.host.put(word(address), at: Driver.data + 0x1_0000 + 8 * page)
        }
        // Deallocates block 100.
        driver.host.put(word(1 << 32), at: Driver.data + 0x2_0000)
        driver.host.put(word(100), at: Driver.data + 0x2_0008)
        var deallocate = driver.io(9, prp1: Driver.data + 0x2_0000)
        deallocate.dword10 = 0
        deallocate.dword11 = 4
        return [
            driver.io(1, blocks: 24, prp2: Driver.data + 0x1_0000),
            driver.io(1, first: 50, blocks: 3),
            driver.io(0),
            deallocate,
            driver.io(0x55),
        ]
    }

    private func word(_ value: UInt64) -> [UInt8] {
        (0..<8).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
    }

    /// Takes completions; each command has one.
    private func expect(_ driver: Driver, _ expected: [UInt16: UInt16], _ comment: Comment) {
        var statuses: [UInt16: UInt16] = [:]
        while let completion = driver.take(1) {
            #expect(statuses.updateValue(completion.status, forKey: completion.identifier) == nil, comment)
        }
        #expect(statuses == expected, comment)
    }

    @Test(arguments: ways) func everyCopy(way: Way) throws {
        var copies = 1
        var step = 0
        while step < copies {
            let comment = Comment("copy \(step)")
            let driver = try Driver(
                stores: [LateStore(byteCount: 1 << 20, isLate: way.late)], mode: .messages)
            driver.createQueues()
            let before = driver.controller.statistics
            driver.host.interruptedCopies = step..<step + way.length
            var expected: [UInt16: UInt16] = [:]
            for entry in commands(driver) {
                // An opcode that there is not.
                expected[driver.submit(entry, to: 1)] = entry.dword0 & 0xff == 0x55 ? 1 : 0
            }
            work(driver, changes: way.changes)
            expect(driver, expected, comment)
            // What was written is there, and is read and compared.
            let place = Driver.data + 0x8_0000
            let read = driver.submit(driver.io(2, blocks: 8, prp1: place), to: 1)
            let next = driver.submit(driver.io(2, first: 50, blocks: 3, prp1: place + 4096), to: 1)
            let compare = driver.submit(
                driver.io(5, blocks: 24, prp2: Driver.data + 0x1_0000), to: 1)
            work(driver, changes: way.changes)
            expect(driver, [read: 0, next: 0, compare: 0], comment)
            #expect(driver.host.bytes(place, 4096) == driver.host.bytes(Driver.data, 4096), comment)
            #expect(driver.host.bytes(place + 4096, 1536) == driver.host.bytes(Driver.data, 1536), comment)
            let after = driver.controller.statistics
            #expect(after.commands - before.commands == 8 && after.errors - before.errors == 1, comment)
            #expect(after.writeCommands - before.writeCommands == 2, comment)
            #expect(after.readCommands - before.readCommands == 3, comment)
            #expect(driver.controller.readRegister(0x1c) == 1 && !driver.controller.isBusy, comment)
            copies = driver.host.copyCount
            step += 1
        }
        #expect(step > 20)
    }

    /// Interrupts come when there is something to see, and not before.
    @Test func interruptsAfterEntries() throws {
        let driver = try Driver(mode: .messages)
        driver.createQueues()
        driver.host.forgetSignals()
        driver.submit(driver.io(0), to: 1)
        // The entry is fetched, its completion cannot be written.
        driver.host.interruptedCopies = 1..<2
        driver.controller.process()
        #expect(driver.controller.wasInterrupted && driver.host.signals.isEmpty && driver.take(1) == nil)
        driver.controller.process()
        #expect(driver.host.signals == [1] && driver.take(1)?.status == 0)
    }

    /// A reset of whatever kind forgets what was put off, and keeps nothing of it: there are fewer slots than rounds.
    @Test(arguments: 0..<4) func forgotten(kind: Int) throws {
        let store = try LateStore(byteCount: 1 << 20)
        let driver = try Driver(stores: [store], mode: .messages)
        for _ in 0..<200 {
            driver.createQueues()
            store.isHeld = true
            for entry in commands(driver) + [driver.io(2)] { driver.submit(entry, to: 1) }
            driver.controller.process()
            driver.host.interruptedCopies = 0..<Int.max
            store.isHeld = false
            for _ in 0..<2 { driver.controller.process() }
            #expect(driver.controller.wasInterrupted && !driver.controller.isBusy)
            driver.host.interruptedCopies = 0..<0
            switch kind {
            case 0: driver.controller.reset()
            case 1: driver.controller.writeRegister(0x14, 0)
            case 2:
                driver.controller.writeRegister(0x14, 0x0046_4001)
                for _ in 0..<4 { driver.controller.process() }
                #expect(driver.controller.readRegister(0x1c) >> 2 & 3 == 2)
                driver.controller.writeRegister(0x14, 0)
            default:
                // In the middle of the copy that is made when the rest is gone on with.
                driver.host.crossingWrites = [(0x14, 0)]
                driver.controller.process()
            }
            for _ in 0..<4 { driver.controller.process() }
            #expect(!driver.controller.isBusy)
            driver.enable()
        }
        #expect(driver.admin(0x06, 1)?.status == 0)
    }

    /// A shutdown is complete when what was put off has been done, however many slots there are.
    @Test(arguments: [1, 2, 256]) func shutDown(slots: Int) throws {
        let store = try LateStore(byteCount: 1 << 20)
        let driver = try Driver(stores: [store], mode: .messages) { $0.slots = slots }
        driver.createQueues()
        for opcode in [1, 2, 1] as [UInt32] { driver.submit(driver.io(opcode), to: 1) }
        store.isHeld = true
        driver.controller.process()
        driver.host.interruptedCopies = 0..<Int.max
        driver.controller.pause()
        store.isHeld = false
        driver.controller.process()
        #expect(!driver.controller.isUsingMemory)
        driver.controller.writeRegister(0x14, 0x0046_4001)
        driver.controller.resume()
        _ = driver.controller.processAll(limit: 16)
        #expect(driver.controller.readRegister(0x1c) >> 2 & 3 == 1 && driver.take(1) == nil)
        driver.host.interruptedCopies = 0..<0
        for _ in 0..<4 { _ = driver.controller.processAll(limit: 16) }
        #expect(driver.controller.readRegister(0x1c) >> 2 & 3 == 2)
        // As many as had begun.
        for _ in 0..<min(slots, 3) { #expect(driver.take(1)?.status == 0) }
        #expect(driver.take(1) == nil && store.flushes == 1)
    }

    /// The same at the end of the process, when they cannot be done.
    @Test func finishInVain() throws {
        let store = try LateStore(byteCount: 1 << 20)
        let driver = try Driver(stores: [store], mode: .messages) { $0.slots = 1 }
        driver.createQueues()
        driver.host.interruptedCopies = 1..<Int.max
        driver.submit(driver.io(1), to: 1)
        for _ in 0..<2 { driver.controller.process() }
        #expect(driver.controller.wasInterrupted)
        #expect(driver.controller.finish() == nil && store.flushes == 1)
    }

    /// A fatal error ends what was put off.
    @Test func fatalError() throws {
        let driver = try Driver(mode: .messages)
        driver.createQueues()
        driver.createQueues(2)
        driver.host.interruptedCopies = 1..<2
        driver.submit(driver.io(1), to: 1)
        driver.controller.process()
        #expect(driver.controller.wasInterrupted)
        // The next turn finds the other queue's memory gone.
        driver.submit(driver.io(0), to: 2)
        driver.host.interruptedCopies = 1..<2
        driver.host.hidden = driver.submissionQueue(2)..<driver.submissionQueue(2) + 0x1000
        driver.controller.memoryChanged()
        for _ in 0..<3 { driver.controller.process() }
        #expect(driver.controller.readRegister(0x1c) & 2 == 2)
        driver.controller.writeRegister(0x14, 0x0046_4001)
        for _ in 0..<3 { driver.controller.process() }
        #expect(driver.controller.readRegister(0x1c) >> 2 & 3 == 2)
    }

    /// A submission queue is deleted when what was put off of it is done.
    @Test func deletion() throws {
        let driver = try Driver(mode: .messages)
        driver.createQueues()
        let command = driver.submit(driver.io(1, blocks: 8), to: 1)
        // Two pages of data: the second cannot be copied, nor anything after it.
        driver.host.interruptedCopies = 1..<2
        driver.controller.process()
        #expect(driver.controller.wasInterrupted)
        // What was put off is tried first, and put off again; then the queue is deleted.
        driver.host.interruptedCopies = 0..<1
        var delete = SubmissionEntry()
        delete.dword0 = 0
        delete.dword10 = 1
        let deletion = driver.submit(delete, to: 0)
        driver.controller.process()
        #expect(driver.take(0) == nil && driver.take(1) == nil)
        _ = driver.controller.processAll(limit: 16)
        #expect(driver.take(1)?.identifier == command)
        #expect(driver.take(0)?.identifier == deletion)
    }

    /// Events, and requests for them that are aborted, at every copy.
    @Test func events() throws {
        for step in 0..<12 {
            let driver = try Driver(mode: .messages)
            driver.createQueues()
            var request = SubmissionEntry()
            request.dword0 = 0x0c
            let first = driver.submit(request, to: 0)
            let second = driver.submit(request, to: 0)
            _ = driver.controller.processAll(limit: 16)
            var abort = SubmissionEntry()
            abort.dword0 = 0x08
            abort.dword10 = UInt32(second) << 16
            driver.host.interruptedCopies = step..<step + 2
            let io = driver.submit(driver.io(0), to: 1)
            let aborting = driver.submit(abort, to: 0)
            driver.controller.writeRegister(0x1000 + 4 * 40, 1)
            for _ in 0..<10 { _ = driver.controller.processAll(limit: 16) }
            var completions: [UInt16: Completion] = [:]
            while let completion = driver.take(0) {
                #expect(completions.updateValue(completion, forKey: completion.identifier) == nil)
            }
            #expect(completions.count == 3, "copy \(step)")
            #expect(completions[first]?.result == 0x1_0000, "copy \(step)")
            #expect(completions[second]?.status == 7, "copy \(step)")
            #expect(completions[aborting]?.status == 0 && completions[aborting]?.result == 0)
            #expect(driver.take(1)?.identifier == io)
        }
    }

    /// A client with doorbells in its memory is asked to ring for what comes next, also if the command was interrupted.
    @Test func shadowDoorbells() throws {
        let driver = try Driver { $0.isPolled = false }
        driver.createQueues()
        let tails = FakeHost.base + 0x60_0000
        #expect(driver.admin(0x7c, prp1: tails, prp2: tails + 0x1000)?.status == 0)
        driver.host.remote = Driver.data..<Driver.data + 0x1000
        driver.controller.memoryChanged()
        driver.host.interruptedCopies = 0..<1
        driver.submit(driver.io(1), to: 1, ring: false)
        driver.host.put(UInt32(1), at: tails + 8)
        _ = driver.controller.processAll(limit: 1)
        #expect(driver.controller.wasInterrupted && driver.take(1, ring: false) == nil)
        _ = driver.controller.processAll(limit: 16)
        #expect(driver.take(1, ring: false)?.status == 0)
        #expect(driver.host.word(tails + 0x1008) & 0xffff_ffff == 1)
    }

    /// An admin command with data.
    @Test func logPages() throws {
        for step in 0..<4 {
            let driver = try Driver(mode: .messages)
            driver.host.put([UInt8](repeating: 0xee, count: 1024), at: Driver.data)
            driver.host.interruptedCopies = step..<step + 1
            var log = SubmissionEntry()
            log.dword0 = 0x02
            log.prp1 = Driver.data
            log.dword10 = 0x2 | 127 << 16
            let identifier = driver.submit(log, to: 0)
            for _ in 0..<4 { _ = driver.controller.processAll(limit: 16) }
            let completion = driver.take(0)
            #expect(completion?.identifier == identifier && completion?.status == 0)
            #expect(driver.take(0) == nil)
            let bytes = driver.host.bytes(Driver.data, 1024)
            #expect(bytes[..<512].allSatisfy { $0 != 0xee } && bytes[512...].allSatisfy { $0 == 0xee })
        }
    }

    /// At the end of the process what was put off is told of as far as that is possible.
    @Test func finish() throws {
        let driver = try Driver(mode: .messages)
        driver.createQueues()
        driver.submit(driver.io(1), to: 1)
        driver.host.interruptedCopies = 1..<2
        driver.controller.process()
        #expect(driver.take(1) == nil)
        #expect(driver.controller.finish() == nil)
        #expect(driver.take(1)?.status == 0)
    }
}
