import SystemPackage
import Testing
import VFIOUserClient
import VFIOUserServer

@testable import NVMeDriver

/// Controllers that are broken, or mean harm: every one is an error, in bounded time.
struct HostileTests {
    private static let quick = DriverOptions.test { $0.timeout = .milliseconds(600) }

    /// A connection to this device fails with this error.
    private func expect(_ error: NVMeError, _ change: (FakeController) -> Void) {
        let device = FakeController()
        change(device)
        #expect(throws: error) { try device.withDriver(Self.quick) }
    }

    @Test func theFakeWorks() throws {
        try FakeController().withDriver(Self.quick) { controller in
            #expect(!controller.hasMappedDoorbells && controller.maxQueueEntries == 256)
            let namespace = try controller.namespace(1)
            #expect(namespace.blockCount == 1024)
            let queue = try controller.makeQueuePair(entries: 8)
            try controller.delete(queue)
            try controller.shutDown()
        }
    }

    @Test func otherDevices() {
        expect(.notNVMe(.classCode(0x01_06_01))) {
            $0.classCode = PCIClass(base: 0x01, sub: 0x06, programmingInterface: 0x01)
        }
        expect(.notNVMe(.registers)) { $0.barSize = 0x1000 }
        expect(.unsupported(.commandSet)) { $0.capabilities &= ~(1 << 37) }
        expect(.unsupported(.pageSize)) { $0.capabilities |= 1 << 48 }
        // A doorbell stride that leads out of BAR0.
        expect(.notNVMe(.registers)) { $0.capabilities |= 0xf << 32 }
        expect(.notNVMe(.registers)) { $0.status = { _ in .max } }
    }

    @Test func neverReady() {
        expect(.timedOut(.enable)) { $0.status = { _ in 0 } }
        expect(.timedOut(.disable)) { $0.status = { _ in 1 } }
        expect(.fatalStatus) { $0.status = { $0 & 1 == 0 ? 0 : 2 } }
    }

    @Test func neverShutDown() throws {
        let device = FakeController()
        device.status = { $0 & 1 }
        #expect(throws: NVMeError.timedOut(.shutdown)) {
            try device.withDriver(Self.quick) { try $0.shutDown() }
        }
    }

    @Test func adminCommands() {
        func answering(_ change: @escaping (inout FakeController.Answer) -> Void) -> (FakeController) -> Void
        {
            {
                $0.script = {
                    var answer = FakeController.wellBehaved($0)
                    change(&answer)
                    return answer
                }
            }
        }
        expect(.timedOut(.command), answering { $0.isSent = false })
        expect(.command(CommandStatus(rawValue: 0x4006)), answering { $0.status = 0x4006 })
        expect(.badCompletion(queue: 0, identifier: 0x8000), answering { $0.identifier = 0x8000 })
        expect(.badCompletion(queue: 0, identifier: 31), answering { $0.identifier = 31 })
        // In range, but not outstanding.
        expect(.badCompletion(queue: 0, identifier: 7), answering { $0.identifier = 7 })
        expect(.badCompletion(queue: 0, identifier: 0), answering { $0.queue = 3 })
    }

    /// The controller stops with a fatal error while a command is outstanding.
    @Test func fatalLater() {
        let device = FakeController()
        var commands = 0
        device.script = {
            commands += 1
            var answer = FakeController.wellBehaved($0)
            answer.isSent = commands < 3
            return answer
        }
        device.status = { $0 & 1 | (commands >= 3 ? 2 : 0) }
        #expect(throws: NVMeError.fatalStatus) {
            try device.withDriver(.test()) { _ = try $0.namespace(1) }
        }
    }

    /// Data structures full of ones, or of zeros.
    @Test(arguments: [0, 0xff] as [UInt8]) func nonsense(_ byte: UInt8) throws {
        let device = FakeController()
        device.script = {
            var answer = FakeController.Answer()
            if $0.opcode == 0x06 { answer.page = [UInt8](repeating: byte, count: 4096) }
            if $0.opcode == 0x09 { answer.result = byte == 0 ? 0 : .max }
            return answer
        }
        try device.withDriver(Self.quick) { controller in
            #expect(controller.queueCount == (byte == 0 ? 1 : 4))
            #expect(controller.maxTransfer == 1 << 20)
            let identifiers = try controller.namespaceIdentifiers()
            #expect(identifiers == (byte == 0 ? [] : [.max]))
            #expect(throws: NVMeError.unsupported(byte == 0 ? .namespace(1) : .blockFormat)) {
                _ = try controller.namespace(1)
            }
        }
    }

    /// What a hostile server can write to a completion queue while commands are outstanding.
    private func scribble(_ word: UInt64, _ error: NVMeError) throws {
        let server = try NVMeServer()
        defer { server.end() }
        let controller = try server.connect(.test())
        let namespace = try controller.namespace(1)
        let buffer = try controller.makeBuffer(4096)
        var queue = try controller.makeQueuePair(entries: 8)
        let place = Rings.completionOffset(8)
        for _ in 0..<3 { try queue.execute(.read(namespace, 0, count: 1, to: buffer.iova)) }
        server.pause()
        let identifier = try queue.submit(.read(namespace, 0, count: 1, to: buffer.iova))
        #expect(identifier == 0)
        try queue.ring()
        #expect(try queue.poll() == nil)
        try queue.memory.memory.store(word, at: place + 3 * 16 + 8)
        #expect(throws: error) { _ = try queue.poll() }
        // And then for good.
        #expect(throws: NVMeError.queueFailed) { _ = try queue.poll() }
        #expect(throws: NVMeError.queueFailed) { _ = try queue.submit(.flush(namespace)) }
        server.resume()
        // The admin queues are others.
        #expect(try controller.namespaceIdentifiers() == [1])
    }

    @Test func scribbledCompletions() throws {
        let phase: UInt64 = 1 << 48
        try scribble(phase | 1 << 16 | 1 << 32, .badCompletion(queue: 1, identifier: 1))
        try scribble(phase | 1 << 16 | 7 << 32, .badCompletion(queue: 1, identifier: 7))
        try scribble(phase | 1 << 16 | 0xffff << 32, .badCompletion(queue: 1, identifier: 0xffff))
        try scribble(phase | 2 << 16, .badCompletion(queue: 1, identifier: 0))
        try scribble(.max, .badCompletion(queue: 1, identifier: 0xffff))
    }

    /// A completion queue whose phase bits are all set at once is read no further than commands are outstanding.
    @Test func allPhases() throws {
        let server = try NVMeServer()
        defer { server.end() }
        let controller = try server.connect(.test())
        let namespace = try controller.namespace(1)
        let buffer = try controller.makeBuffer(4096)
        var queue = try controller.makeQueuePair(entries: 8)
        server.pause()
        for _ in 0..<2 { _ = try queue.submit(.read(namespace, 0, count: 1, to: buffer.iova)) }
        for entry in 0..<8 {
            let word: UInt64 = 1 << 48 | 1 << 16 | UInt64(entry) << 32
            try queue.memory.memory.store(word, at: Rings.completionOffset(8) + entry * 16 + 8)
        }
        var taken: [Int] = []
        #expect(throws: NVMeError.badCompletion(queue: 1, identifier: 2)) {
            while let completion = try queue.poll() { taken.append(completion.identifier) }
        }
        #expect(taken == [0, 1])
        server.resume()
    }

    @Test(arguments: NVMeServer.Mode.allCases, [true, false])
    func serverDies(_ mode: NVMeServer.Mode, _ waits: Bool) throws {
        let server = try NVMeServer(mode)
        defer { server.end() }
        let controller = try server.connect(.test(mode.memory) { $0.usesInterrupts = waits })
        let namespace = try controller.namespace(1)
        let buffer = try controller.makeBuffer(4096)
        var queue = try controller.makeQueuePair(entries: 8)
        server.pause()
        _ = try queue.submit(.read(namespace, 0, count: 8, to: buffer.iova))
        try queue.ring()
        server.end()
        #expect(throws: NVMeError.connection(.socketNotConnected)) {
            while try queue.poll() == nil { try queue.idle() }
        }
        #expect(throws: NVMeError.connection(.socketNotConnected)) { try controller.namespaceIdentifiers() }
        #expect(throws: NVMeError.connection(.socketNotConnected)) { _ = try controller.makeBuffer(4096) }
        #expect(throws: NVMeError.connection(.socketNotConnected)) { try controller.shutDown() }
    }

    /// The server answers messages, but its controller does nothing.
    @Test func serverSleeps() throws {
        let server = try NVMeServer()
        defer { server.end() }
        let controller = try server.connect(.test { $0.timeout = .milliseconds(300) })
        let namespace = try controller.namespace(1)
        var queue = try controller.makeQueuePair(entries: 8)
        server.pause()
        _ = try queue.submit(.flush(namespace))
        try queue.ring()
        // Status is asked for, and not answered.
        #expect(throws: NVMeError.connection(.timedOut)) {
            while try queue.poll() == nil { try queue.idle() }
        }
        #expect(throws: NVMeError.queueFailed) { _ = try queue.poll() }
        server.resume()
    }
}
