import Foundation
import NVMeController
import NVMePCI
import NVMeStores
import Synchronization
import SystemPackage
import VFIOUserClient
import VFIOUserServer

/// A server and its client, connected and set up on two threads, and from then on used by one: the client's queues and
/// doorbells are memory, and the server's part of a command is ``NVMeController/process(budget:)``.
///
/// Client memory: queues in the first MiB, data behind.
final class Bench {
    private let client: Client
    private let server: DeviceServer
    private let device: NVMeDevice
    private let controller: NVMeController
    private let memory: DMAMemory
    private let doorbells: MappedRegion
    private let depth: Int
    private let opcode: UInt32
    private let usesSGL: Bool
    private var tail = 0
    private var head = 0
    private var phase: UInt32 = 1
    private var nextBlock: UInt64 = 0

    /// Entries of the I/O queues.
    private static let entries = 256
    private static let blockCount: UInt64 = (64 << 20) >> 12
    private enum Place {
        static let adminSubmissions = 0
        static let adminCompletions = 0x1000
        static let submissions = 0x10000
        static let completions = 0x20000
        static let data = 0x10_0000
    }
    static let iova: UInt64 = 0x2000_0020_0000

    struct UnknownSubject: Error {}
    struct WrongCompletion: Error {}

    /// - Parameter subject: `read`, `write`, `compare` or `sgl`, `-` and the queue depth; or `idle`.
    init(_ subject: String) throws {
        let parts = subject.split(separator: "-")
        switch parts.first {
        case "read", "sgl", "idle": opcode = 2
        case "write": opcode = 1
        case "compare": opcode = 5
        default: throw UnknownSubject()
        }
        usesSGL = parts.first == "sgl"
        depth = parts.first == "idle" ? 0 : parts.last.flatMap { Int($0) } ?? 1
        guard (0...128).contains(depth) else { throw UnknownSubject() }

        var pair: [CInt] = [-1, -1]
        guard socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0, &pair) == 0 else {
            throw Errno(rawValue: errno)
        }
        device = try NVMeDevice()
        server = try DeviceServer(
            device, at: .connected(FileDescriptor(rawValue: pair[1])), waiting: .polling)
        controller = try device.setUp(
            on: server, ControllerConfiguration(), stores: [MemoryStore(byteCount: Self.blockCount << 12)],
            blockSize: 4096, doorbellMode: .mmap, notifier: nil)
        try server.realize()
        let loop = Loop(server, controller)
        client = try Client(adopting: FileDescriptor(rawValue: pair[0]))
        memory = try DMAMemory(count: 2 << 20)
        try client.map(memory, at: Self.iova)
        doorbells = try client.mapRegion(.bar0)
        try setUp()
        loop.end()
    }

    private func setUp() throws {
        try client.write(UInt32(0x00ff_00ff), to: .bar0, at: 0x24)
        try client.write(Self.iova + UInt64(Place.adminSubmissions), to: .bar0, at: 0x28)
        try client.write(Self.iova + UInt64(Place.adminCompletions), to: .bar0, at: 0x30)
        try client.write(UInt32(0x0046_0001), to: .bar0, at: 0x14)
        let size = UInt32(Self.entries - 1) << 16 | 1
        try admin(0, 5, Place.completions, size, 1)
        try admin(1, 1, Place.submissions, size, 1 << 16 | 1)
    }

    private func admin(_ place: Int, _ opcode: UInt32, _ queue: Int, _ dword10: UInt32, _ dword11: UInt32)
        throws
    {
        let entry = Place.adminSubmissions + 64 * place
        try memory.store(opcode, at: entry)
        try memory.store(Self.iova + UInt64(queue), at: entry + 24)
        try memory.store(dword10, at: entry + 40)
        try memory.store(dword11, at: entry + 44)
        try doorbells.storeReleasing(UInt32(place + 1), at: 0x1000)
        while try memory.loadAcquiring(at: Place.adminCompletions + 16 * place + 12, as: UInt32.self) == 0 {}
        guard try memory.load(at: Place.adminCompletions + 16 * place + 12, as: UInt32.self) == 1 << 16 else {
            throw WrongCompletion()
        }
        try doorbells.storeReleasing(UInt32(place + 1), at: 0x1004)
    }

    /// Submits as many commands as the queue is deep, has them carried out, and takes their completions.
    ///
    /// - Parameter isCounted: whether what the server does is counted.
    func turn(isCounted: Bool) throws {
        for _ in 0..<depth { try submit() }
        if depth > 0 { try doorbells.storeReleasing(UInt32(tail), at: 0x1008) }
        if isCounted {
            countedPart { [controller] in _ = controller.process() }
        } else {
            controller.process()
        }
        for _ in 0..<depth { try take() }
        if depth > 0 { try doorbells.storeReleasing(UInt32(head), at: 0x100c) }
    }

    private func submit() throws {
        let entry = Place.submissions + 64 * tail
        nextBlock = (nextBlock &* 2_862_933_555_777_941_757 &+ 3_037_000_493)
        try memory.store(opcode | (usesSGL ? 0x4000 : 0), at: entry)
        try memory.store(UInt32(1), at: entry + 4)
        try memory.store(Self.iova + UInt64(Place.data + tail % 128 * 4096), at: entry + 24)
        try memory.store(UInt64(usesSGL ? 4096 : 0), at: entry + 32)
        try memory.store(opcode == 5 ? 0 : (nextBlock >> 20) % Self.blockCount, at: entry + 40)
        try memory.store(UInt32(0), at: entry + 48)
        tail = (tail + 1) % Self.entries
    }

    private func take() throws {
        let status = try memory.loadAcquiring(at: Place.completions + 16 * head + 12, as: UInt32.self) >> 16
        guard status == phase else { throw WrongCompletion() }
        head = (head + 1) % Self.entries
        if head == 0 { phase ^= 1 }
    }
}

/// The server's thread, as long as there is one.
private final class Loop: @unchecked Sendable {
    private let server: DeviceServer
    private let controller: NVMeController
    private let isEnding = Atomic<Bool>(false)
    private let hasEnded = DispatchSemaphore(value: 0)

    init(_ server: DeviceServer, _ controller: NVMeController) {
        self.server = server
        self.controller = controller
        Thread.detachNewThread { [self] in
            run()
            hasEnded.signal()
        }
    }

    private func run() {
        while !isEnding.load(ordering: .acquiring) {
            if server.isAttached {
                _ = try? server.poll()
            } else {
                try? server.attach()
            }
            controller.process()
        }
    }

    /// From then on the caller's thread has the server to itself.
    func end() {
        isEnding.store(true, ordering: .releasing)
        hasEnded.wait()
    }
}
