internal import SystemPackage
internal import VFIOUserClient

/// What a queue does while no completion comes: memory alone does not tell that the server has gone, wants
/// something or has stopped.
struct Watch {
    private let client: Client
    /// The eventfd of the queue's interrupt.
    private let listener: InterruptListener?
    /// How long to wait for that at a time.
    private let nap: Duration
    /// How long the controller may complete nothing, nanoseconds.
    private let timeout: UInt64
    /// One look in so many calls, a power of two, less 1.
    private let mask: UInt32
    private var calls: UInt32 = 0
    /// Completions at the last look while commands were outstanding, and since when there were no more.
    private var lastCompleted: UInt64?
    private var since: UInt64 = 0
    private var nextStatus: UInt64 = 0

    /// How often the controller's status is asked for while nothing is completed, nanoseconds.
    private static let statusInterval: UInt64 = 100_000_000

    /// - Parameter isServing: memory is shared by messages, which have to be answered at once.
    init(_ client: Client, listener: InterruptListener?, timeout: Duration, isServing: Bool) {
        self.client = client
        self.listener = listener
        self.timeout = timeout.nanoseconds
        nap = isServing ? .milliseconds(1) : .milliseconds(20)
        // Some 0.2 ms of looking at memory are worth one look at the socket.
        mask = isServing || listener != nil ? 0 : 0xffff
    }

    @inline(__always)
    var isDue: Bool {
        mutating get {
            calls &+= 1
            return calls & mask == 0
        }
    }

    /// - Parameters:
    ///   - outstanding: commands that are.
    ///   - completed: how many ever were completed.
    /// - Throws: see ``QueuePair/idle()``.
    @inline(never)
    mutating func look(_ outstanding: Int, completed: UInt64) throws(NVMeError) {
        try connection { () throws(Errno) in
            if let listener { try listener.wait(timeout: nap) }
            try client.serveAvailable()
        }
        guard outstanding > 0 else { return lastCompleted = nil }
        let now = monotonicNanoseconds()
        guard lastCompleted == completed else {
            lastCompleted = completed
            since = now
            nextStatus = now &+ Self.statusInterval
            return
        }
        guard now >= nextStatus || now &- since >= timeout else { return }
        nextStatus = now &+ Self.statusInterval
        let status = Status(
            rawValue: try connection { () throws(Errno) in
                try client.read(.bar0, at: Register.status)
            })
        guard !status.isFatal else { throw .fatalStatus }
        guard now &- since < timeout else { throw .timedOut(.command) }
    }
}
