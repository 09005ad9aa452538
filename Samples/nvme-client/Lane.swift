internal import NVMeDriver

/// What a benchmark does.
struct Workload {
    var namespace: Namespace
    /// Commands outstanding in each queue.
    var depth: Int
    /// Blocks of a command.
    var blocksPerCommand: Int
    /// Whether places are chosen at random, or one follows the other.
    var isRandom: Bool
    /// Reads among 256 commands.
    var readsIn256: UInt64
    /// Commands there are places for.
    var places: UInt64

    var commandByteCount: Int { blocksPerCommand << namespace.blockShift }
}

/// One queue of a benchmark, kept full. The loop allocates nothing and counts no references; it looks at the clock once
/// for all completions found at a time, a time that ends their commands and begins the next ones.
struct Lane: ~Copyable {
    private var queue: QueuePair
    private let workload: Workload
    private let address: UInt64
    /// When each command began.
    private var begun: [UInt64]
    private var random: UInt64
    private var next: UInt64
    private(set) var histogram = Histogram()

    /// - Parameter address: of memory for `depth` commands.
    init(_ queue: consuming QueuePair, _ workload: Workload, _ address: UInt64, number: Int, of count: Int) {
        begun = [UInt64](repeating: 0, count: queue.capacity)
        self.queue = queue
        self.workload = workload
        self.address = address
        random = 0x9e37_79b9_7f4a_7c15 &* UInt64(2 * number + 1)
        next = workload.places / UInt64(count) * UInt64(number)
    }

    var outstandingCount: Int { queue.outstandingCount }

    /// Begins as many commands as are to be outstanding.
    mutating func fill() throws(NVMeError) {
        let now = monotonicNanoseconds()
        while queue.outstandingCount < workload.depth { try begin(now) }
        try queue.ring()
    }

    /// Takes what is complete and, unless told otherwise, begins as much anew. Of what is begun nothing is taken before
    /// the next turn: a server that completes commands before they are rung cannot make a turn endless.
    ///
    /// - Parameter now: the clock, if something was taken; 0 otherwise.
    /// - Returns: completions taken.
    @inline(__always)
    mutating func turn(_ now: inout UInt64, beginsAnew: Bool) throws(NVMeError) -> Int {
        var taken = 0
        let most = queue.outstandingCount
        while taken < most, let completion = try queue.poll() {
            if now == 0 { now = monotonicNanoseconds() }
            guard completion.status.isSuccess else { throw .command(completion.status) }
            histogram.record(now &- begun[completion.identifier])
            taken &+= 1
            if beginsAnew { try begin(now) }
        }
        if taken > 0 { try queue.ring() } else { try queue.idle() }
        return taken
    }

    /// Forgets what was measured.
    mutating func startOver() { histogram = Histogram() }

    @inline(__always)
    private mutating func begin(_ now: UInt64) throws(NVMeError) {
        let isRead = chooseRead()
        let block = choosePlace() &* UInt64(truncatingIfNeeded: workload.blocksPerCommand)
        // The identifiers in use are below the depth: see there.
        let slot = queue.nextIdentifier
        let data = address &+ UInt64(truncatingIfNeeded: slot &* workload.commandByteCount)
        let identifier = try queue.submit(
            isRead
                ? .read(workload.namespace, block, count: workload.blocksPerCommand, to: data)
                : .write(workload.namespace, block, count: workload.blocksPerCommand, from: data))
        begun[identifier] = now
    }

    @inline(__always)
    private mutating func chooseRead() -> Bool {
        switch workload.readsIn256 {
        case 0: false
        case 256: true
        default: advanceRandom() & 255 < workload.readsIn256
        }
    }

    @inline(__always)
    private mutating func choosePlace() -> UInt64 {
        // The high half of a product: a number below the count of places without a division.
        if workload.isRandom { return advanceRandom().multipliedFullWidth(by: workload.places).high }
        let place = next
        next = place &+ 1 == workload.places ? 0 : place &+ 1
        return place
    }

    /// Xorshift64*.
    @inline(__always)
    private mutating func advanceRandom() -> UInt64 {
        random ^= random >> 12
        random ^= random << 25
        random ^= random >> 27
        return random &* 0x2545_f491_4f6c_dd1d
    }
}

/// Some lanes, in one piece of memory: an array cannot hold what cannot be copied.
///
/// Unsafe inside: the memory holds `count` initialised lanes for as long as the value lives; numbers are checked.
@safe
struct Lanes: ~Copyable {
    private let first: UnsafeMutablePointer<Lane>
    private(set) var count = 0
    private let capacity: Int

    init(capacity: Int) {
        unsafe first = .allocate(capacity: capacity)
        self.capacity = capacity
    }

    mutating func append(_ lane: consuming Lane) {
        precondition(count < capacity)
        unsafe (first + count).initialize(to: lane)
        count += 1
    }

    /// Works on one lane, where it is.
    @inline(__always)
    mutating func with<Result>(
        _ number: Int, _ body: (inout Lane) throws(NVMeError) -> Result
    ) throws(NVMeError) -> Result {
        precondition(number >= 0 && number < count)
        return try unsafe body(&first[number])
    }

    deinit {
        unsafe first.deinitialize(count: count)
        unsafe first.deallocate()
    }
}
