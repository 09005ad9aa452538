internal import CNVMeSystem
internal import Glibc
internal import Logging
internal import NVMeController
internal import NVMePCI
internal import VFIOUserServer

/// A controller with its device, its server and its stores.
final class ServedController {
    let name: String
    let server: DeviceServer
    let controller: NVMeController
    private let device: NVMeDevice
    private let stores: [any BackingStore]
    /// Signalled by the client's doorbells.
    private let notifier: FileDescriptor?
    private let logger: Logger
    /// Whether doorbells are only to be seen by looking.
    let mustLook: Bool
    /// Whether every store that can have something pending announces its end.
    let isAnnounced: Bool
    private var isAttached = false
    /// Whether there may be something to do that nothing will announce.
    private(set) var isUnfinished = false
    /// When INTx was unmasked, until its level is looked at, and how many interrupts there had been.
    private var unmasked: (ContinuousClock.Instant, UInt64)?
    private var lastCounters: Counters

    private static let settling = Duration.microseconds(500)

    init(
        _ name: String, _ device: NVMeDevice, _ server: DeviceServer,
        _ configuration: ControllerConfiguration, _ stores: [any BackingStore], blockSize: Int,
        doorbells: DoorbellMode, _ logger: Logger
    ) throws(Errno) {
        self.name = name
        self.device = device
        self.server = server
        self.stores = stores
        self.logger = logger
        mustLook = doorbells == .mmap
        isAnnounced = stores.allSatisfy { unsafe $0.bytes != nil || $0.completionDescriptor != nil }
        if doorbells == .ioeventfd {
            let number = nvmesys_eventfd()
            guard number >= 0 else { throw Errno(rawValue: -number) }
            notifier = FileDescriptor(rawValue: number)
        } else {
            notifier = nil
        }
        controller = try device.setUp(
            on: server, configuration, stores: stores, blockSize: blockSize, doorbellMode: doorbells,
            notifier: notifier)
        lastCounters = controller.statistics
        try server.realize()
        logger.info("\(name): serial number \(configuration.serialNumber), \(stores.count) namespaces")
    }

    /// Has a loop watch whatever this controller may be woken by.
    func join(_ loop: EventLoop) throws(Errno) {
        if let notifier {
            try loop.add(notifier) {
                var count: UInt64 = 0
                // Eight bytes, as many as an eventfd gives.
                _ = unsafe Glibc.read(notifier.rawValue, &count, 8)
            }
        }
        for store in stores {
            guard let descriptor = store.completionDescriptor else { continue }
            // The controller asks a store that has something pending. Another one has something of its own to do.
            try loop.add(descriptor) { if store.pendingCount == 0 { store.reap(wait: false) { _, _ in } } }
        }
        try loop.add(server)
    }

    /// Whether no client is there, and none can come any more.
    var isOver: Bool { server.pollDescriptor == nil }

    /// Notices clients that have come and gone.
    func lookAtClient() {
        guard server.isAttached != isAttached else { return }
        isAttached.toggle()
        logger.info("\(name): \(isAttached ? "a client is attached" : "the client is gone")")
    }

    /// Carries out what is there, however much it is, but with a look at the sockets now and then.
    ///
    /// - Returns: whether there was anything.
    func work() -> Bool {
        // First, since what it has the controller do is to be followed by another look.
        lookAtLevel()
        let (hasWorked, mayHaveMore) = controller.processAll(limit: 16)
        let hasResumed = device.continueQuiescing()
        isUnfinished = mayHaveMore || hasResumed
        return hasWorked
    }

    /// Looks at doorbells so many times, or fewer if there are commands.
    ///
    /// - Returns: whether there were any.
    func look(times: Int) -> Bool {
        guard controller.isEnabled else { return false }
        let wakes = controller.wakeCount
        var hasWorked = false
        var left = times
        while left > 0 {
            let count = controller.process()
            if count > 0 { hasWorked = true }
            // More would be in vain before the client has been answered.
            if controller.wasInterrupted { break }
            left -= 1 + count
        }
        if wakes != controller.wakeCount { isUnfinished = true }
        return hasWorked
    }

    /// INTx is a level, but eventfds carry edges: it is signalled again if it is still high once it was unmasked and
    /// was not signalled since. Not at once: QEMU without KVM takes the first access to a BAR for the end of the
    /// interrupt, whichever it is, and when the doorbells are messages without replies, what the guest's handler is
    /// about to write there may be to come.
    private func lookAtLevel() {
        if device.wasUnmasked {
            device.wasUnmasked = false
            unmasked = (.now, controller.statistics.interrupts)
        }
        guard let (time, interrupts) = unmasked, ContinuousClock.now - time >= Self.settling else { return }
        unmasked = nil
        guard interrupts == controller.statistics.interrupts else { return }
        controller.interruptServiced()
    }

    /// Whether the level of INTx is to be looked at in a moment.
    var isSettling: Bool { unmasked != nil || device.wasUnmasked }

    /// Finishes and flushes what was begun, and takes no clients any more.
    ///
    /// - Returns: whether that worked.
    func finish() -> Bool {
        let error = controller.finish()
        if let error { logger.error("\(name): not everything could be made durable: \(error)") }
        server.close()
        return error == nil
    }

    /// A line about what happened since the last.
    func logStatistics(_ elapsed: Duration) {
        let counters = controller.statistics
        let seconds = Double(elapsed.components.seconds) + Double(elapsed.components.attoseconds) / 1e18
        func rate(_ path: (Counters) -> UInt64) -> UInt64 {
            UInt64(Double(path(counters) &- path(lastCounters)) / max(seconds, 0.001))
        }
        logger.notice(
            """
            \(name): per second \(rate(\.commands)) commands, \(rate(\.readCommands)) reads, \
            \(rate(\.writeCommands)) writes, \(rate(\.bytesRead) >> 10) KiB read, \
            \(rate(\.bytesWritten) >> 10) KiB written, \(rate(\.interrupts)) interrupts; \
            \(counters.errors) errors in all
            """)
        lastCounters = counters
    }

    deinit { try? notifier?.close() }
}
