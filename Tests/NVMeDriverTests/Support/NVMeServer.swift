import Foundation
import NVMeController
import NVMePCI
import NVMeStores
import Synchronization
import SystemPackage
import Testing
import VFIOUserClient
import VFIOUserServer

@testable import NVMeDriver

/// The sample's controller with a store in memory, served by a thread of this process to one client.
final class NVMeServer: @unchecked Sendable {
    let store: MemoryStore
    private let server: DeviceServer
    private let device: NVMeDevice
    private let controller: NVMeController
    private let socket: FileDescriptor
    private let isEnding = Atomic<Bool>(false)
    private let isPaused = Atomic<Bool>(false)
    private let hasPaused = DispatchSemaphore(value: 0)
    private let hasEnded = DispatchSemaphore(value: 0)

    /// The modes a client can be in, with both sources of IOVAs.
    enum Mode: CaseIterable, Sendable {
        case legacy, serverAddress, opaque

        var memory: MemoryMode { self == .legacy ? .legacy : .ioas }
        var iovas: IOVAPolicy { self == .serverAddress ? .serverAddress : .opaque() }
    }

    init(
        _ mode: Mode = .legacy, byteCount: UInt64 = 8 << 20, blockSize: Int = 512, isReadOnly: Bool = false,
        queues: Int = 4, doorbells: DoorbellMode = .mmap, policy: IOASPolicy = .auto
    ) throws {
        store = try MemoryStore(byteCount: byteCount, isReadOnly: isReadOnly)
        device = try NVMeDevice()
        let (ours, theirs) = try socketPair()
        socket = ours
        server = try DeviceServer(device, at: .connected(theirs), waiting: .polling)
        var configuration = ControllerConfiguration()
        configuration.queuePairs = queues
        configuration.vectors = queues + 1
        configuration.serialNumber = "TEST"
        controller = try device.setUp(
            on: server, configuration, stores: [store], blockSize: blockSize, doorbellMode: doorbells,
            notifier: nil)
        try server.setIOASPolicy(policy, iovas: mode.iovas)
        try server.realize()
        Thread.detachNewThread { [self] in
            serve()
            server.close()
            hasEnded.signal()
        }
    }

    private func serve() {
        while !isEnding.load(ordering: .acquiring) {
            do throws(Errno) {
                if !server.isAttached { try server.attach() }
                if try server.poll() > 0 { continue }
            } catch {
                // A server of one connection ends with it.
                guard error == .wouldBlock else { return }
            }
            if isPaused.load(ordering: .acquiring) {
                hasPaused.signal()
                while isPaused.load(ordering: .acquiring), !isEnding.load(ordering: .acquiring) {
                    usleep(100)
                }
            } else if controller.process() == 0 {
                // The client wants the processor.
                sched_yield()
            }
        }
    }

    /// Connects.
    func connect(_ options: ClientOptions) throws -> Client {
        try Client(adopting: FileDescriptor(rawValue: dup(socket.rawValue)), options: options)
    }

    /// Connects and starts the controller.
    func connect(_ options: DriverOptions) throws -> Controller {
        try Controller(connect(options.clientOptions), options)
    }

    /// Has the controller do nothing until told otherwise; what it was doing is done.
    func pause() {
        isPaused.store(true, ordering: .releasing)
        hasPaused.wait()
    }

    func resume() { isPaused.store(false, ordering: .releasing) }

    /// Ends the server; the connection is closed.
    func end() {
        guard !isEnding.exchange(true, ordering: .acquiringAndReleasing) else { return }
        try? socket.close()
        hasEnded.wait()
    }

    /// Times that the client went without a shutdown.
    var unsafeShutdowns: UInt64 {
        end()
        return controller.statistics.unsafeShutdowns
    }

    /// Bytes of the store, which the server's thread does not touch meanwhile.
    func contents(at offset: Int, count: Int) throws -> [UInt8] {
        pause()
        defer { resume() }
        guard let bytes = unsafe store.bytes else { throw Errno.noMemory }
        guard offset >= 0, count >= 0, offset <= bytes.count - count else { throw Errno.invalidArgument }
        return unsafe Array(bytes[offset..<offset + count])
    }
}

/// Two connected stream sockets.
func socketPair() throws -> (FileDescriptor, FileDescriptor) {
    var pair: [CInt] = [-1, -1]
    // The call fills both places.
    guard unsafe socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0, &pair) == 0 else {
        throw Errno(rawValue: errno)
    }
    return (FileDescriptor(rawValue: pair[0]), FileDescriptor(rawValue: pair[1]))
}

extension DriverOptions {
    /// Short limits, so that a failing test ends soon.
    static func test(_ mode: MemoryMode? = .legacy, _ change: (inout DriverOptions) -> Void = { _ in })
        -> Self
    {
        var options = DriverOptions()
        options.memoryMode = mode
        options.queueCount = 4
        options.timeout = .seconds(20)
        change(&options)
        return options
    }
}

/// Runs a test's part with a server and its controller, and shuts both down.
func withController(
    _ server: NVMeServer, _ options: DriverOptions = .test(), _ body: (Controller) throws -> Void
) throws {
    defer { server.end() }
    let controller = try server.connect(options)
    try body(controller)
    try controller.shutDown()
}

/// Bytes that differ from place to place and from seed to seed.
func noise(_ count: Int, seed: Int) -> [UInt8] { Array(pool[(seed * 13)..<(seed * 13 + count)]) }

private let pool: [UInt8] = {
    var state: UInt32 = 1
    return (0..<(2 << 20)).map { _ in
        state = state &* 1_664_525 &+ 1_013_904_223
        return UInt8(state >> 24)
    }
}()
