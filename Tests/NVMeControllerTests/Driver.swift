import NVMeController
import NVMeStores
import NVMeSupport
import Testing

struct Completion: Equatable {
    var result: UInt32
    var head: UInt16
    var queue: UInt16
    var identifier: UInt16
    /// Type and code.
    var status: UInt16
}

/// A driver of a test: queues in fake memory, commands one by one.
///
/// Memory: from page 0 on the queues (16 pages each), data from 4 MiB on.
@safe
final class Driver {
    let host = FakeHost()
    let controller: NVMeController
    let doorbells: UnsafeMutableRawPointer
    var sizes: [UInt16: UInt32] = [:]
    var tails: [UInt16: UInt32] = [:]
    var heads: [UInt16: UInt32] = [:]
    var phases: [UInt16: UInt16] = [:]
    var nextIdentifier: UInt16 = 1
    static let data = FakeHost.base + 4 << 20

    init(
        stores: [any BackingStore]? = nil, blockSize: Int = 512, entries: UInt32 = 16, enable: Bool = true,
        mode: FakeHost.Mode = .direct, _ change: (inout ControllerConfiguration) -> Void = { _ in }
    ) throws {
        var configuration = ControllerConfiguration()
        configuration.serialNumber = "test"
        change(&configuration)
        unsafe doorbells = .allocate(byteCount: 4096, alignment: 4096)
        unsafe doorbells.initializeMemory(as: UInt32.self, repeating: 0, count: 1024)
        let stores = try stores ?? [MemoryStore(byteCount: 4 << 20)]
        unsafe controller = NVMeController(
            configuration, host: host, doorbells: doorbells, stores: stores, blockSize: blockSize)
        host.controller = controller
        host.mode = mode
        if enable { self.enable(entries) }
    }

    deinit { unsafe doorbells.deallocate() }

    func submissionQueue(_ queue: UInt16) -> UInt64 { FakeHost.base + UInt64(queue) * 0x20000 }
    func completionQueue(_ queue: UInt16) -> UInt64 { FakeHost.base + UInt64(queue) * 0x20000 + 0x10000 }

    func enable(_ entries: UInt32 = 16) {
        controller.writeRegister(0x24, (entries - 1) | (entries - 1) << 16)
        write64(0x28, submissionQueue(0))
        write64(0x30, completionQueue(0))
        start(0, entries)
        controller.writeRegister(0x14, 0x0046_0001)
    }

    private func write64(_ offset: Int, _ value: UInt64) {
        controller.writeRegister(offset, UInt32(truncatingIfNeeded: value))
        controller.writeRegister(offset + 4, UInt32(truncatingIfNeeded: value >> 32))
    }

    func start(_ queue: UInt16, _ entries: UInt32) {
        sizes[queue] = entries
        tails[queue] = 0
        heads[queue] = 0
        phases[queue] = 1
        host.put([UInt8](repeating: 0, count: Int(entries) * 16), at: completionQueue(queue))
    }

    /// Creates I/O queues with the same number.
    func createQueues(_ queue: UInt16 = 1, entries: UInt32 = 16, vector: UInt32 = 1) {
        start(queue, entries)
        var create = SubmissionEntry()
        create.dword0 = 0x05
        create.prp1 = completionQueue(queue)
        create.dword10 = UInt32(queue) | (entries - 1) << 16
        create.dword11 = 3 | vector << 16
        #expect(admin(create)?.status == 0)
        create.dword0 = 0x01
        create.prp1 = submissionQueue(queue)
        create.dword11 = 1 | UInt32(queue) << 16
        #expect(admin(create)?.status == 0)
    }

    func doorbell(_ place: Int, _ value: UInt32) {
        unsafe doorbells.storeBytes(of: value, toByteOffset: 4 * place, as: UInt32.self)
    }

    /// Puts a command into a queue and rings.
    @discardableResult
    func submit(_ entry: SubmissionEntry, to queue: UInt16, ring: Bool = true) -> UInt16 {
        var entry = entry
        let identifier = nextIdentifier
        nextIdentifier &+= 1
        entry.dword0 = entry.dword0 & 0xffff | UInt32(identifier) << 16
        let tail = tails[queue] ?? 0
        let bytes = unsafe withUnsafeBytes(of: &entry) { unsafe [UInt8]($0) }
        host.put(bytes, at: submissionQueue(queue) + UInt64(tail) * 64)
        tails[queue] = (tail + 1) % (sizes[queue] ?? 1)
        if ring { doorbell(2 * Int(queue), tails[queue] ?? 0) }
        return identifier
    }

    /// The next completion of a queue, if there is one.
    func take(_ queue: UInt16, ring: Bool = true) -> Completion? {
        let head = heads[queue] ?? 0
        let address = completionQueue(queue) + UInt64(head) * 16
        let low = host.word(address)
        let high = host.word(address + 8)
        let status = UInt16(truncatingIfNeeded: high >> 48)
        guard status & 1 == phases[queue] else { return nil }
        let next = (head + 1) % (sizes[queue] ?? 1)
        heads[queue] = next
        if next == 0 { phases[queue]? ^= 1 }
        if ring { doorbell(2 * Int(queue) + 1, next) }
        return Completion(
            result: UInt32(truncatingIfNeeded: low), head: UInt16(truncatingIfNeeded: high),
            queue: UInt16(truncatingIfNeeded: high >> 16), identifier: UInt16(truncatingIfNeeded: high >> 32),
            status: status >> 1 & 0x7ff)
    }

    /// Carries one command out.
    func call(_ entry: SubmissionEntry, on queue: UInt16) -> Completion? {
        let identifier = submit(entry, to: queue)
        controller.process()
        guard let completion = take(queue) else { return nil }
        #expect(completion.identifier == identifier)
        #expect(completion.queue == queue)
        return completion
    }

    func admin(_ entry: SubmissionEntry) -> Completion? { call(entry, on: 0) }

    /// An admin command's status, by its fields.
    func admin(
        _ opcode: UInt32, namespace: UInt32 = 0, prp1: UInt64 = Driver.data, prp2: UInt64 = 0,
        _ dword10: UInt32 = 0, _ dword11: UInt32 = 0, _ dword12: UInt32 = 0
    ) -> Completion? {
        var entry = SubmissionEntry()
        entry.dword0 = opcode
        entry.namespace = namespace
        entry.prp1 = prp1
        entry.prp2 = prp2
        entry.dword10 = dword10
        entry.dword11 = dword11
        entry.dword12 = dword12
        return admin(entry)
    }

    /// A command of the NVM command set on queue 1.
    func io(
        _ opcode: UInt32, namespace: UInt32 = 1, first: UInt64 = 0, blocks: UInt32 = 1,
        prp1: UInt64 = Driver.data, prp2: UInt64 = 0, flags: UInt32 = 0
    ) -> SubmissionEntry {
        var entry = SubmissionEntry()
        entry.dword0 = opcode
        entry.namespace = namespace
        entry.prp1 = prp1
        entry.prp2 = prp2
        entry.dword10 = UInt32(truncatingIfNeeded: first)
        entry.dword11 = UInt32(truncatingIfNeeded: first >> 32)
        entry.dword12 = (blocks &- 1) & 0xffff | flags
        return entry
    }
}

/// Bytes that differ between places.
func pattern(_ count: Int, seed: Int = 0) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    var value = UInt8(truncatingIfNeeded: seed)
    for place in bytes.indices {
        value = value &* 13 &+ UInt8(truncatingIfNeeded: place &>> 8) &+ 7
        bytes[place] = value
    }
    return bytes
}
