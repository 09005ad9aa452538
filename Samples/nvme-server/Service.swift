internal import CNVMeSystem
internal import Glibc
internal import Logging
internal import NVMeController
internal import VFIOUserServer

/// Runs controllers on one thread until SIGTERM or SIGINT, or until no client can come any more.
final class Service {
    private let controllers: [ServedController]
    private let loop: EventLoop
    private let logger: Logger
    private let polls: Bool
    private let mustLook: Bool
    private let statisticsInterval: Int
    private var isStopping = false
    private var lastActivity = ContinuousClock.now
    private var lastStatistics = ContinuousClock.now

    /// How long after the last command it looks without pause, and how many looks there are per look at the sockets.
    private static let patience = Duration.microseconds(200)
    private static let looks = 2048
    /// Milliseconds between looks at a page of doorbells where nothing happens, at most.
    private static let longestPause: Int32 = 16
    /// How much of the time that nothing happened a pause may be: what it delays is delayed by so little.
    private static let pauseShare = 64

    /// - Throws: `EMFILE`, `ENOMEM`.
    init(
        _ controllers: [ServedController], polls: Bool, statisticsInterval: Int, _ logger: Logger
    ) throws(Errno) {
        self.controllers = controllers
        self.logger = logger
        self.polls = polls
        self.statisticsInterval = statisticsInterval
        mustLook = controllers.contains { $0.mustLook }
        loop = try EventLoop()
        let signals = nvmesys_termination()
        guard signals >= 0 else { throw Errno(rawValue: -signals) }
        let descriptor = FileDescriptor(rawValue: signals)
        try loop.add(descriptor) { [unowned self] in
            isStopping = true
            // The signal is taken; another one is not waited for.
            unsafe withUnsafeTemporaryAllocation(byteCount: 128, alignment: 8) {
                // As many bytes as one signal has.
                _ = unsafe try? descriptor.read(into: $0)
            }
        }
        for controller in controllers { try controller.join(loop) }
    }

    /// Serves; then everything written is made durable.
    ///
    /// - Returns: whether it could be.
    /// - Throws: what ends the service otherwise.
    func run() throws(Errno) -> Bool {
        while !isStopping {
            let pause = timeout
            let wasHandled = try loop.runOnce(timeout: pause)
            var hasWorked = false
            for controller in controllers {
                if controller.work() { hasWorked = true }
                // Sockets cost a system call each time; doorbells do not. One look is enough after a pause.
                if pause == 0, controller.mustLook, controller.look(times: Self.looks / controllers.count) {
                    hasWorked = true
                }
                // It may have come by a message, and gone while one was awaited.
                controller.lookAtClient()
            }
            if hasWorked || (wasHandled && mustLook) { lastActivity = .now }
            if statisticsInterval > 0 { logStatistics() }
            if controllers.allSatisfy(\.isOver) {
                logger.info("no client can come any more")
                break
            }
        }
        logger.info("stopping")
        nvmesys_end_on_signals()
        var isDone = true
        for controller in controllers where !controller.finish() { isDone = false }
        return isDone
    }

    /// Milliseconds to wait for sockets, eventfds and stores; -1: as long as it takes.
    private var timeout: Int32 {
        var limit: Int32 = statisticsInterval > 0 ? 1000 : .max
        var idle: Duration?
        for controller in controllers {
            if controller.isUnfinished { return 0 }
            // A store that the kernel has no memory for at the moment announces nothing.
            if controller.controller.isBusy { limit = min(limit, controller.isAnnounced ? 10 : 0) }
            guard controller.controller.isEnabled else { continue }
            if polls { return 0 }
            if controller.isSettling { limit = min(limit, 1) }
            let time = idle ?? (ContinuousClock.now - lastActivity)
            idle = time
            // Commands that did not fit into one turn are not announced again.
            if time < Self.patience { return 0 }
            if controller.mustLook { limit = min(limit, Self.pause(after: time)) }
        }
        return limit == .max ? -1 : limit
    }

    /// How long to sleep before the next look at doorbells when nothing has happened for a time; milliseconds.
    private static func pause(after idle: Duration) -> Int32 {
        let milliseconds = idle / pauseShare / .milliseconds(1)
        return Int32(min(max(milliseconds, 1), Double(longestPause)))
    }

    private func logStatistics() {
        let elapsed = ContinuousClock.now - lastStatistics
        guard elapsed >= .seconds(statisticsInterval) else { return }
        for controller in controllers { controller.logStatistics(elapsed) }
        lastStatistics = .now
    }
}
