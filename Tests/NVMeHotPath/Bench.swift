import Foundation
import NVMeController
import NVMeDriver
import NVMePCI
import NVMeStores
import Synchronization
import SystemPackage
import VFIOUserClient
import VFIOUserServer

/// A server and its client, connected and set up on two threads, and from then on used by one: the client's queues and
/// doorbells are memory, and the server's part of a command is ``NVMeController/process(budget:)``.
final class Bench {
    private let server: DeviceServer
    private let device: NVMeDevice
    private let controller: NVMeController
    private let driver: NVMeDriver.Controller
    private var initiator: Initiator
    /// Whether the client's part is counted, instead of the server's.
    private let countsClient: Bool

    private static let blockCount: UInt64 = (64 << 20) >> 12

    struct UnknownSubject: Error {}

    /// - Parameter subject: `read`, `write`, `compare` or `sgl`, `-` and the queue depth; or `idle`. In front of it,
    ///   `client-`.
    init(_ subject: String) throws {
        var parts = subject.split(separator: "-")
        countsClient = parts.first == "client"
        if countsClient { parts.removeFirst() }
        let opcode: UInt8
        switch parts.first {
        case "read", "sgl", "idle": opcode = 2
        case "write": opcode = 1
        case "compare": opcode = 5
        default: throw UnknownSubject()
        }
        let depth = parts.first == "idle" ? 0 : parts.last.flatMap { Int($0) } ?? 1
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
        var options = DriverOptions()
        options.memoryMode = .legacy
        options.usesSGL = parts.first == "sgl"
        driver = try Controller(
            Client(adopting: FileDescriptor(rawValue: pair[0]), options: options.clientOptions), options)
        initiator = Initiator(
            try driver.makeQueuePair(entries: Initiator.entries), try driver.namespace(1),
            address: try driver.makeBuffer(128 << 12).iova, opcode: opcode, depth: depth)
        loop.end()
    }

    /// Submits as many commands as the queue is deep, has them carried out, and takes their completions.
    func turn(isCounted: Bool) throws { try turn(&initiator, isCounted) }

    private func turn(_ initiator: inout Initiator, _ isCounted: Bool) throws {
        var failure: NVMeError?
        part(isCounted && countsClient) {
            do throws(NVMeError) { try initiator.submit() } catch { failure = error }
        }
        part(isCounted && !countsClient) { [controller] in _ = controller.process() }
        part(isCounted && countsClient) {
            do throws(NVMeError) { try initiator.take() } catch { failure = error }
        }
        if let failure { throw failure }
    }

    private func part(_ isCounted: Bool, _ body: () -> Void) {
        if isCounted { countedPart(body) } else { body() }
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
