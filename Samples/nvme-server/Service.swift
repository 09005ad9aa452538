internal import CNVMeSystem
internal import Glibc
internal import Logging
internal import NVMeController
internal import NVMePCI
internal import VFIOUserServer

/// Runs one server and its controller until SIGTERM or SIGINT.
final class Service {
    private let device: NVMeDevice
    private let server: DeviceServer
    private let controller: NVMeController
    private let loop: EventLoop
    private let logger: Logger
    /// Whether doorbells are only to be seen by looking.
    private let mustLook: Bool
    private let polls: Bool
    private let statisticsInterval: Int
    /// Whether every store that can have something pending announces its end.
    private let isAnnounced: Bool
    private var isStopping = false
    private var lastActivity = ContinuousClock.now
    /// When INTx was unmasked, until its level is looked at.
    private var unmasked: ContinuousClock.Instant?
    private var lastStatistics = ContinuousClock.now
    private var lastCounters: Counters

    /// How long after the last command it looks without pause, and how many looks there are per look at the sockets.
    private static let patience = Duration.microseconds(200)
    private static let looks = 2048
    private static let settling = Duration.microseconds(500)

    init(
        _ device: NVMeDevice, _ server: DeviceServer, _ controller: NVMeController,
        _ stores: [any BackingStore],
        logger: Logger,
        mustLook: Bool, polls: Bool, notifier: FileDescriptor?, statisticsInterval: Int
    ) throws(Errno) {
        self.device = device
        self.server = server
        self.controller = controller
        self.logger = logger
        self.mustLook = mustLook
        self.polls = polls
        self.statisticsInterval = statisticsInterval
        lastCounters = controller.statistics
        isAnnounced = stores.allSatisfy { unsafe $0.bytes != nil || $0.completionDescriptor != nil }
        loop = try EventLoop()
        let signals = nvmesys_termination()
        guard signals >= 0 else { throw Errno(rawValue: -signals) }
        try loop.add(FileDescriptor(rawValue: signals)) { [unowned self] in isStopping = true }
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

    /// Serves until told to stop; then everything written is made durable.
    ///
    /// - Throws: what ends the service otherwise.
    func run() throws(Errno) {
        var isAttached = false
        while !isStopping {
            let wasHandled = try loop.runOnce(timeout: timeout)
            if server.isAttached != isAttached {
                isAttached = server.isAttached
                logger.info("\(isAttached ? "a client is attached" : "the client is gone")")
            }
            var hasWorked = work() > 0
            lookAtLevel()
            // Sockets cost a system call each time; doorbells do not.
            if mustLook, controller.isEnabled {
                var left = Self.looks
                while left > 0 {
                    let count = controller.process()
                    if count > 0 { hasWorked = true }
                    left -= 1 + count
                }
            }
            if hasWorked || (wasHandled && mustLook) { lastActivity = .now }
            if statisticsInterval > 0 { logStatistics() }
        }
        logger.info("stopping")
        controller.finish()
        server.close()
    }

    /// INTx is a level, but eventfds carry edges: it is signalled again if it is still high once it was unmasked. Not
    /// at once: QEMU without KVM takes the first access of the guest's handler, which is the very one that is to
    /// lower it, for the end of the interrupt.
    private func lookAtLevel() {
        if device.wasUnmasked {
            device.wasUnmasked = false
            unmasked = .now
        }
        guard let time = unmasked, ContinuousClock.now - time >= Self.settling else { return }
        unmasked = nil
        controller.interruptServiced()
        controller.process()
    }

    /// Carries out what is there, however much it is, but with a look at the sockets now and then.
    private func work() -> Int {
        var done = 0
        for _ in 0..<16 {
            let count = controller.process()
            if count == 0 { break }
            done += count
        }
        return done
    }

    /// Milliseconds to wait for sockets and eventfds.
    private var timeout: Int32 {
        if controller.isBusy {
            // A store that the kernel has no memory for at the moment announces nothing.
            return isAnnounced && !polls && !mustLook ? 10 : 0
        }
        guard controller.isEnabled else { return statisticsInterval > 0 ? 1000 : -1 }
        if polls { return 0 }
        if unmasked != nil { return 1 }
        if mustLook { return ContinuousClock.now - lastActivity < Self.patience ? 0 : 1 }
        // Commands that did not fit into one turn are not announced again.
        if ContinuousClock.now - lastActivity < Self.patience { return 0 }
        return statisticsInterval > 0 ? 1000 : -1
    }

    private func logStatistics() {
        let now = ContinuousClock.now
        let elapsed = now - lastStatistics
        guard elapsed >= .seconds(statisticsInterval) else { return }
        let counters = controller.statistics
        let seconds = Double(elapsed.components.seconds) + Double(elapsed.components.attoseconds) / 1e18
        func rate(_ path: (Counters) -> UInt64) -> UInt64 {
            UInt64(Double(path(counters) &- path(lastCounters)) / max(seconds, 0.001))
        }
        logger.notice(
            """
            per second: \(rate(\.commands)) commands, \(rate(\.readCommands)) reads, \
            \(rate(\.writeCommands)) writes, \(rate(\.bytesRead) >> 10) KiB read, \
            \(rate(\.bytesWritten) >> 10) KiB written, \(rate(\.interrupts)) interrupts; \
            \(counters.errors) errors in all
            """)
        lastStatistics = now
        lastCounters = counters
    }
}
