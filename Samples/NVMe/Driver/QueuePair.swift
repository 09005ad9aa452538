internal import SystemPackage
internal import VFIOUserClient

/// A submission queue and a completion queue of their own (NVMe 1.4, 4.1), worked by one thread at a time: commands
/// are put in (``submit(_:)``), announced (``ring()``), and their completions taken (``poll()``). None of that
/// allocates memory or counts references.
///
/// What the controller writes is checked: a completion must be of a command that is outstanding, whatever its phase
/// bit says, so that a hostile controller can lie about data, and end the use of the queue, but no more.
public struct QueuePair: ~Copyable {
    /// 0 for the admin queues, 1... for those of I/O.
    public let identifier: UInt16
    /// Entries of each queue.
    public let entries: Int
    /// Commands that can be outstanding: one less than there are entries. They have the identifiers
    /// 0..<capacity.
    public var capacity: Int { entries - 1 }
    /// Commands put in whose completions were not taken.
    public private(set) var outstandingCount = 0
    /// Completions taken so far.
    public private(set) var completedCount: UInt64 = 0
    /// Most bytes of data of one command.
    public let maxTransfer: Int

    let memory: DMABuffer
    private let submissions: MappedRecords
    private let completions: MappedRecords
    /// Without them, commands name their data by SGLs.
    private let lists: PRPList?
    private let doorbells: QueueDoorbells
    private var watch: Watch

    /// The next entry to fill.
    private var tail = 0
    /// The tail that the controller knows of.
    private var rungTail = 0
    /// The next completion.
    private var head = 0
    /// The phase bit of completions not taken yet.
    private var phase: UInt64 = 1
    /// Completions taken that the controller does not know of, and how many there may be.
    private var unacknowledged = 0
    private let patience: Int
    /// By identifier: `outstanding`, or of a free one the next that is free.
    private var links: [UInt16]
    /// The identifier that became free last.
    private var firstFree: UInt16 = 0
    private var hasFailed = false

    /// No identifier: queues have 4096 entries at most.
    private static let outstanding = UInt16.max

    /// Queues in their memory; the controller is told of it by others.
    init(
        _ identifier: UInt16, _ rings: Rings, acknowledgesAtOnce: Bool, _ doorbells: QueueDoorbells,
        _ watch: Watch
    ) {
        self.identifier = identifier
        entries = rings.submissions.count
        maxTransfer = rings.maxTransfer
        memory = rings.memory
        submissions = rings.submissions
        completions = rings.completions
        lists = rings.lists
        self.doorbells = doorbells
        self.watch = watch
        // The controller has room for what is outstanding, if it must not wait for more than this.
        patience = acknowledgesAtOnce ? 1 : max(1, entries / 4)
        links = (1..<UInt16(entries)).map { $0 }
    }

    /// Where the submission queue is.
    var submissionAddress: UInt64 { memory.iova }
    /// Where the completion queue is.
    var completionAddress: UInt64 { memory.iova &+ UInt64(Rings.completionOffset(entries)) }

    // MARK: Submission

    /// The identifier that the next command will have; -1 if the queue is full. The one that became free last is used
    /// first: while never more than n commands are outstanding, identifiers are below n.
    public var nextIdentifier: Int {
        outstandingCount < capacity ? Int(firstFree) : -1
    }

    /// Puts a command into the queue. The controller may not see it before ``ring()``.
    ///
    /// - Returns: its identifier, 0..<``capacity``, which its completion has too.
    /// - Throws: `.queueFull`; `.invalidArgument` more data than ``maxTransfer``, or a negative count; `.queueFailed`.
    public mutating func submit(_ command: Command) throws(NVMeError) -> Int {
        guard !hasFailed else { throw .queueFailed }
        guard outstandingCount < capacity else { throw .queueFull }
        guard command.byteCount >= 0, command.byteCount <= maxTransfer else { throw .invalidArgument }
        let identifier = firstFree
        do throws(Errno) {
            let pointer = try pointer(command, Int(identifier))
            try submissions.store(
                SubmissionEntry(
                    command, identifier: identifier, pointer, usesSGL: lists == nil && command.byteCount > 0),
                at: tail)
        } catch { throw .invalidArgument }
        firstFree = links[Int(identifier)]
        links[Int(identifier)] = Self.outstanding
        outstandingCount &+= 1
        tail = tail &+ 1 == entries ? 0 : tail &+ 1
        return Int(identifier)
    }

    @inline(__always)
    private func pointer(_ command: Command, _ slot: Int) throws(Errno) -> DataPointer {
        guard command.byteCount > 0 else { return DataPointer(command.address) }
        guard let lists else { return DataPointer(block: command.address, command.byteCount) }
        return try DataPointer(pages: command.address, command.byteCount, lists, slot)
    }

    /// Announces what was put in since the last time.
    ///
    /// - Throws: `.connection` where doorbells are messages.
    @inline(__always)
    public mutating func ring() throws(NVMeError) {
        guard rungTail != tail else { return }
        rungTail = tail
        try doorbells.ringSubmission(UInt32(truncatingIfNeeded: tail))
    }

    // MARK: Completion

    /// Takes the next completion, if there is one.
    ///
    /// - Throws: `.badCompletion`, and `.queueFailed` from then on; `.connection` where doorbells are messages.
    public mutating func poll() throws(NVMeError) -> Completion? {
        guard let word: UInt64 = try? completions.loadAcquiring(head, offset: 8), word >> 48 & 1 == phase,
            !hasFailed
        else { return hasFailed ? try fail(.queueFailed) : nil }
        let number = Int(word >> 32 & 0xffff)
        // It was written before the word with the phase.
        guard word >> 16 & 0xffff == UInt64(identifier), number < links.count,
            links[number] == Self.outstanding, let result: UInt32 = try? completions.load(head)
        else {
            return try fail(
                .badCompletion(queue: identifier, identifier: UInt16(truncatingIfNeeded: number)))
        }
        links[number] = firstFree
        firstFree = UInt16(truncatingIfNeeded: number)
        outstandingCount &-= 1
        completedCount &+= 1
        head &+= 1
        if head == entries {
            head = 0
            phase ^= 1
        }
        unacknowledged &+= 1
        if unacknowledged >= patience {
            unacknowledged = 0
            try doorbells.ringCompletion(UInt32(truncatingIfNeeded: head))
        }
        return Completion(
            identifier: number, status: CommandStatus(rawValue: UInt16(truncatingIfNeeded: word >> 49)),
            result: result)
    }

    /// What is outstanding will never be known to be complete: its memory may be written at any time.
    @inline(never)
    private mutating func fail(_ error: NVMeError) throws(NVMeError) -> Completion? {
        hasFailed = true
        throw error
    }

    /// To be called over and over while there is nothing to take: looks after the connection now and then, and waits
    /// for the queue's interrupt if it has one.
    ///
    /// - Throws: `.connection` the server has gone; `.timedOut` no command was completed for too long while some are
    ///   outstanding; `.fatalStatus`.
    @inline(__always)
    public mutating func idle() throws(NVMeError) {
        guard watch.isDue else { return }
        do throws(NVMeError) { try watch.look(outstandingCount, completed: completedCount) } catch {
            hasFailed = true
            throw error
        }
    }

    // MARK: Both

    /// Carries out one command and waits for it. Nothing else may be outstanding.
    ///
    /// - Returns: dword 0 of the completion.
    /// - Throws: `.command` it failed; those of the methods above.
    @discardableResult
    public mutating func execute(_ command: Command) throws(NVMeError) -> UInt32 {
        guard outstandingCount == 0 else { throw .invalidArgument }
        _ = try submit(command)
        try ring()
        while true {
            if let completion = try poll() {
                guard completion.status.isSuccess else { throw .command(completion.status) }
                return completion.result
            }
            try idle()
        }
    }
}

/// The end of a command.
public struct Completion: Sendable, BitwiseCopyable {
    /// Which command: what ``QueuePair/submit(_:)`` returned.
    public let identifier: Int
    /// How it ended.
    public let status: CommandStatus
    /// Dword 0, whose meaning depends on the command.
    public let result: UInt32
}
