import Glibc
import NVMeController
import NVMePCI
import NVMeStores
import NVMeSupport
import SystemPackage
import Testing
import VFIOUserClient
import VFIOUserServer

/// How client memory gets to the controller.
enum MemoryWay: CaseIterable, Sendable {
    case legacy, legacyMessages, ioas, ioasMessages

    var usesIOAS: Bool { self == .ioas || self == .ioasMessages }
    var sharing: Client.DMASharing { self == .legacy || self == .ioas ? .file : .messages }
}

/// The NVMe sample's device in a server, and a driver that does what a test tells it, right or wrong.
///
/// Memory: the queues of pair n from n * 0x20000 on, data from ``data`` on.
final class Rig {
    let client: Client
    let way: MemoryWay
    let memory: DMAMemory
    let doorbells: MappedRegion?
    /// Where the device sees the memory.
    let iova: UInt64 = 0x10_0000_0000
    private(set) var space: Client.IOAS?
    private var tails: [Int: UInt32] = [:]
    private var heads: [Int: UInt32] = [:]
    private var nextIdentifier: UInt32 = 0

    static let data = 1 << 20
    static let size = 4 << 20
    static let entries: UInt32 = 64

    init(_ client: Client, _ way: MemoryWay, isMapped: Bool = true) throws {
        self.client = client
        self.way = way
        memory = try DMAMemory(count: Self.size)
        doorbells = isMapped ? try client.mapRegion(.bar0) : nil
        try attach()
    }

    /// Makes all of the memory visible to the device.
    func attach() throws {
        if way.usesIOAS {
            let space = try client.allocateIOAS()
            try client.map(memory, into: space, at: iova, sharing: way.sharing)
            try client.attach(space)
            self.space = space
        } else {
            try client.map(memory, at: iova, sharing: way.sharing)
        }
    }

    func address(_ offset: Int) -> UInt64 { iova + UInt64(offset) }
    static func submissions(_ queue: Int) -> Int { queue * 0x20000 }
    static func completions(_ queue: Int) -> Int { queue * 0x20000 + 0x10000 }

    // MARK: Registers

    var status: UInt32 { get throws { try client.read(.bar0, at: 0x1c) } }

    /// Enables the controller, with its admin queue at other addresses if given.
    func enable(submissions: UInt64? = nil, completions: UInt64? = nil) throws {
        try client.write(UInt32(0), to: .bar0, at: 0x14)
        tails = [:]
        heads = [:]
        try memory.write([UInt8](repeating: 0, count: 0x20000), at: 0)
        try client.write((Self.entries - 1) | (Self.entries - 1) << 16, to: .bar0, at: 0x24)
        try client.write(submissions ?? address(Self.submissions(0)), to: .bar0, at: 0x28)
        try client.write(completions ?? address(Self.completions(0)), to: .bar0, at: 0x30)
        try client.write(UInt32(0x0046_0001), to: .bar0, at: 0x14)
    }

    func ring(_ doorbell: Int, _ value: UInt32) throws {
        let offset = UInt64(0x1000 + 4 * doorbell)
        guard let doorbells else { return try client.write(value, to: .bar0, at: offset) }
        try doorbells.storeReleasing(value, at: offset)
    }

    /// Waits for something of the device, answering what it asks meanwhile.
    func wait(_ seconds: Int = 20, until condition: () throws -> Bool) throws -> Bool {
        let end = ContinuousClock.now + .seconds(seconds)
        while ContinuousClock.now < end {
            if try condition() { return true }
            if way.sharing == .messages {
                try client.serveOne(timeout: .milliseconds(1))
            } else {
                usleep(100)
            }
        }
        return try condition()
    }

    // MARK: Commands

    /// Puts a command into a queue and rings.
    func submit(_ entry: SubmissionEntry, to queue: Int) throws {
        let tail = tails[queue] ?? 0
        nextIdentifier = (nextIdentifier + 1) & 0xffff
        let dwords = [
            entry.dword0 & 0xffff | nextIdentifier << 16, entry.namespace, 0, 0, 0, 0,
            UInt32(truncatingIfNeeded: entry.prp1), UInt32(truncatingIfNeeded: entry.prp1 >> 32),
            UInt32(truncatingIfNeeded: entry.prp2), UInt32(truncatingIfNeeded: entry.prp2 >> 32),
            entry.dword10, entry.dword11, entry.dword12, 0, 0, 0,
        ]
        for (place, dword) in dwords.enumerated() {
            try memory.store(dword, at: Self.submissions(queue) + Int(tail) * 64 + place * 4)
        }
        tails[queue] = (tail + 1) % Self.entries
        try ring(2 * queue, (tail + 1) % Self.entries)
    }

    /// Where the last dword of a queue's next completion is.
    private func nextCompletion(_ queue: Int) -> Int {
        Self.completions(queue) + Int((heads[queue] ?? 0) % Self.entries) * 16 + 12
    }

    /// Whether the next completion of a queue is there.
    func hasCompletion(_ queue: Int) throws -> Bool {
        let phase = (heads[queue] ?? 0) / Self.entries % 2 == 0 ? 1 : 0 as UInt32
        return try memory.loadAcquiring(at: nextCompletion(queue), as: UInt32.self) >> 16 & 1 == phase
    }

    /// The status of the next completion of a queue; `nil` if none comes.
    func take(_ queue: Int, seconds: Int = 20) throws -> UInt16? {
        guard try wait(seconds, until: { try hasCompletion(queue) }) else { return nil }
        let place = nextCompletion(queue)
        let head = heads[queue] ?? 0
        heads[queue] = head + 1
        try ring(2 * queue + 1, (head + 1) % Self.entries)
        return UInt16(truncatingIfNeeded: try memory.load(at: place, as: UInt32.self) >> 17) & 0x7ff
    }

    func call(_ entry: SubmissionEntry, on queue: Int) throws -> UInt16? {
        try submit(entry, to: queue)
        return try take(queue)
    }

    func admin(
        _ opcode: UInt32, namespace: UInt32 = 0, prp1: UInt64? = nil, _ dword10: UInt32 = 0,
        _ dword11: UInt32 = 0
    ) throws -> UInt16? {
        var entry = SubmissionEntry()
        entry.dword0 = opcode
        entry.namespace = namespace
        entry.prp1 = prp1 ?? address(Self.data)
        entry.dword10 = dword10
        entry.dword11 = dword11
        return try call(entry, on: 0)
    }

    /// Waits until all that was submitted has begun. Queues are served in turn, the admin queue first: when its second
    /// command is done, the others have been served since the first was.
    func waitUntilBegun() throws {
        for _ in 0..<2 { #expect(try admin(6, 1) == 0) }
    }

    /// Creates a pair of I/O queues, elsewhere if told so.
    func createQueues(
        _ queue: Int = 1, submissions: UInt64? = nil, completions: UInt64? = nil, vector: UInt32? = nil
    ) throws {
        tails[queue] = 0
        heads[queue] = 0
        try memory.write([UInt8](repeating: 0, count: 0x10000), at: Self.completions(queue))
        let size = (Self.entries - 1) << 16 | UInt32(queue)
        let flags = vector.map { $0 << 16 | 3 } ?? 1
        #expect(try admin(5, prp1: completions ?? address(Self.completions(queue)), size, flags) == 0)
        let pair = UInt32(queue) << 16 | 1
        #expect(try admin(1, prp1: submissions ?? address(Self.submissions(queue)), size, pair) == 0)
    }

    /// A command of whole blocks of 4 KiB in the data part of memory, or elsewhere.
    func io(
        _ opcode: UInt32, first: UInt32 = 0, blocks: UInt32 = 1, prp1: UInt64? = nil, prp2: UInt64 = 0
    ) -> SubmissionEntry {
        var entry = SubmissionEntry()
        entry.dword0 = opcode
        entry.namespace = 1
        entry.prp1 = prp1 ?? address(Self.data)
        entry.prp2 = prp2
        entry.dword10 = first
        entry.dword12 = blocks - 1
        return entry
    }

    /// Puts a pattern into the data part of memory.
    func fill(_ count: Int, seed: Int) throws -> [UInt8] {
        let bytes = [UInt8].pattern(count, seed: seed)
        try memory.write(bytes, at: Self.data)
        return bytes
    }
}

/// The device with what a test needs of it.
final class NVMeUnderTest {
    let device: NVMeDevice
    private var controller: NVMeController?

    init() throws { device = try NVMeDevice() }

    /// Runs a test's part with a client of a new server.
    static func run(
        _ way: MemoryWay = .legacy, _ stores: [any BackingStore]? = nil, doorbells: DoorbellMode = .mmap,
        notifier: FileDescriptor? = nil, _ link: Link = .socketPair, _ body: (Host, Rig) throws -> Void
    ) throws {
        let parts = try NVMeUnderTest()
        let stores = try stores ?? [MemoryStore(byteCount: 4 << 20)]
        let work: (DeviceServer) -> Void = { _ in
            parts.controller?.process()
            parts.device.continueQuiescing()
        }
        // Held requests are let go when the device has to quiesce, and not before.
        let endRequests: () -> Errno? = {
            for store in stores { (store as? LateStore)?.isHeld = false }
            while parts.controller?.isBusy == true { parts.controller?.process() }
            parts.device.continueQuiescing()
            return nil
        }
        let host = try Host(parts.device, link, work: work, beforeQuiesced: endRequests) { server in
            parts.controller = try parts.device.setUp(
                on: server, ControllerConfiguration(), stores: stores, blockSize: 4096,
                doorbellMode: doorbells, notifier: notifier)
        }
        try withHost(host) { host in
            let client = try host.connect(way.usesIOAS ? .ioas(.all) : .patient)
            defer { client.close() }
            try body(host, Rig(client, way, isMapped: doorbells == .mmap))
        }
    }
}
