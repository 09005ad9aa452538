internal import Synchronization
public import SystemPackage

/// An NVM Express 1.4 controller: registers, queues, the admin and the NVM command set. It knows no sockets, only a
/// ``Host`` through which it reaches client memory and interrupts, and stores.
///
/// Everything is done by ``process(budget:)``: a write to a register takes effect at once, but commands are begun
/// only there. All calls come from one thread.
///
/// Nothing the client does, in whatever order, traps: client memory is copied before it is looked at, sums of
/// client values are checked.
///
/// Unsafe inside: queues, slots and pools are arrays made here and freed with the controller; their indices are
/// checked where they come from the client. What moves for every command is there and not in stored properties so
/// that using it checks no exclusivity and counts no references.
@safe
public final class NVMeController {
    let configuration: ControllerConfiguration
    unowned(unsafe) let host: any Host
    /// The page of doorbells, which the client may write at any time.
    let doorbells: UnsafeMutablePointer<Atomic<UInt32>>

    /// Queues by identifier; 0 is the admin queue.
    let submissions: UnsafeMutablePointer<SubmissionQueue>
    let completions: UnsafeMutablePointer<CompletionQueue>
    let queueCount: Int
    /// Identifiers of the submission queues there are.
    let active: UnsafeMutablePointer<UInt16>

    let slots: UnsafeMutablePointer<Slot>
    let ranges: UnsafeMutablePointer<MemoryRange>
    let windows: UnsafeMutablePointer<MemoryWindow>
    let vectors: UnsafeMutablePointer<StoreVector>
    /// A page for what is looked at after it was copied: command, PRP list, data structures.
    let scratch: UnsafeMutableRawPointer
    let listScratch: UnsafeMutableRawPointer

    let namespaces: UnsafeMutablePointer<Namespace>
    let namespaceCount: Int
    /// Whether what is written may be lost until a flush.
    let canCache: Bool
    let counters: UnsafeMutablePointer<Counters>

    /// What every turn looks at.
    let state: UnsafeMutablePointer<TurnState>
    var registers = Registers()
    var features: Features
    var events = AsyncEvents()
    var errorLog = ErrorLog()
    var formatting: Formatting?
    let startTime = ContinuousClock.now

    /// A controller that is disabled.
    ///
    /// - Parameters:
    ///   - host: must outlive the controller.
    ///   - doorbells: 4096 bytes, aligned, that outlive it.
    ///   - stores: of the namespaces 1, 2, ...; at most 1024, the rest is left out.
    ///   - blockSize: bytes, 512 or 4096; 512 instead of any other.
    @unsafe
    public init(
        _ configuration: ControllerConfiguration, host: any Host, doorbells: UnsafeMutableRawPointer,
        stores: [any BackingStore], blockSize: Int
    ) {
        var configuration = configuration
        configuration.queuePairs = min(max(configuration.queuePairs, 1), 64)
        configuration.maxQueueEntries = min(max(configuration.maxQueueEntries, 2), 4096)
        configuration.vectors = min(max(configuration.vectors, 1), 2048)
        configuration.slots = min(max(configuration.slots, 1), 1024)
        self.configuration = configuration
        unsafe self.host = host
        unsafe self.doorbells = doorbells.assumingMemoryBound(to: Atomic<UInt32>.self)
        queueCount = configuration.queuePairs + 1
        unsafe submissions = .allocate(capacity: queueCount)
        unsafe submissions.initialize(repeating: SubmissionQueue(), count: queueCount)
        unsafe completions = .allocate(capacity: queueCount)
        unsafe completions.initialize(repeating: CompletionQueue(), count: queueCount)
        unsafe active = .allocate(capacity: queueCount)
        unsafe active.initialize(repeating: 0, count: queueCount)
        unsafe slots = .allocate(capacity: configuration.slots)
        unsafe slots.initialize(repeating: Slot(), count: configuration.slots)
        // Written before they are read, and touched only as far as they are used.
        unsafe ranges = .allocate(capacity: configuration.slots * Limit.ranges)
        unsafe vectors = .allocate(capacity: configuration.slots * Limit.vectors)
        unsafe windows = .allocate(capacity: Self.windowCount)
        unsafe windows.initialize(repeating: .none, count: Self.windowCount)
        unsafe scratch = .allocate(byteCount: Limit.pageSize, alignment: Limit.pageSize)
        unsafe scratch.initializeMemory(as: UInt8.self, repeating: 0, count: Limit.pageSize)
        unsafe listScratch = .allocate(byteCount: Limit.pageSize, alignment: Limit.pageSize)
        unsafe listScratch.initializeMemory(as: UInt8.self, repeating: 0, count: Limit.pageSize)
        unsafe state = .allocate(capacity: 1)
        unsafe state.initialize(to: TurnState())
        let kept = stores.prefix(1024)
        namespaceCount = kept.count
        unsafe namespaces = .allocate(capacity: max(1, kept.count))
        for (place, store) in kept.enumerated() {
            unsafe (namespaces + place).initialize(
                to: Namespace(store, blockShift: blockSize == 4096 ? 12 : 9))
        }
        unsafe counters = .allocate(capacity: 1)
        unsafe counters.initialize(to: Counters())
        features = Features(configuration, namespaces: namespaceCount)
        canCache = kept.contains { $0.hasVolatileCache }
        features.canCache = canCache
        for place in 0..<configuration.slots { release(slot: configuration.slots - 1 - place) }
    }

    deinit {
        for place in 0..<configuration.slots { unsafe slots[place].bounce?.deallocate() }
        unsafe namespaces.deinitialize(count: namespaceCount)
        unsafe namespaces.deallocate()
        unsafe submissions.deallocate()
        unsafe completions.deallocate()
        unsafe active.deallocate()
        unsafe slots.deallocate()
        unsafe ranges.deallocate()
        unsafe vectors.deallocate()
        unsafe windows.deallocate()
        unsafe scratch.deallocate()
        unsafe listScratch.deallocate()
        unsafe counters.deallocate()
        unsafe state.pointee.staged.entries.deallocate()
        unsafe state.deallocate()
    }

    /// What happened so far.
    public var statistics: Counters { unsafe counters.pointee }

    /// Whether a client has enabled the controller and it carries out commands.
    public var isEnabled: Bool { isRunning }

    /// Client memory changed, or is about to: nothing that was known of its addresses holds.
    public func memoryChanged() {
        memoryEpoch &+= 1
        asksForTracking = true
        unsafe state.pointee.usesCopies = false
        unsafe windows.update(repeating: .none, count: Self.windowCount)
        unsafe shadow.tails = nil
        unsafe shadow.events = nil
    }

    /// Back to power-on, but for what is in the stores: everything of the client is forgotten.
    public func reset() {
        // The power is gone as far as the client's disk is concerned.
        if isRunning { unsafe counters.pointee.unsafeShutdowns &+= 1 }
        stop()
        drain()
        clear()
        registers = Registers()
    }

    /// Waits for what is being carried out, tells of it, then makes everything written durable. For the end of the
    /// process.
    ///
    /// - Returns: why something could not be made durable.
    @discardableResult
    public func finish() -> Errno? {
        if isInterrupted { catchUp() }
        drain(formats: true)
        if !isInterrupted { postStaged() }
        // The client cannot be told of the rest, and flushing takes slots.
        forgetParked()
        if owesInterrupts { signalInterrupts() }
        var failure: Errno?
        for place in 0..<namespaceCount {
            if case .failed(let error) = flush(namespace: place) { failure = error }
        }
        return failure
    }

    /// A controller reset begins (NVMe 1.4, 7.3.2): nothing is begun any more, and nobody waits for what is under way.
    func stop() {
        isRunning = false
        stagedCount = 0
        forgetParked()
        resetCount &+= 1
    }

    /// Its end, when nothing uses client memory any more: no queues, no commands, no doorbells, default features.
    func clear() {
        isRunning = false
        activeCount = 0
        for place in 0..<queueCount {
            // A deletion that waited for commands nobody waits for any more.
            if let deletion = unsafe submissions[place].deletion { release(slot: deletion) }
        }
        unsafe submissions.update(repeating: SubmissionQueue(), count: queueCount)
        unsafe completions.update(repeating: CompletionQueue(), count: queueCount)
        events = AsyncEvents()
        shadow = ShadowDoorbells()
        if levelIsHigh { unsafe host.withdraw() }
        levelIsHigh = false
        owesInterrupts = false
        registers.interruptMask = 0
        registers.isReady = false
        registers.hasFatalError = false
        registers.shutdownStatus = 0
        due = []
        forgetFormat()
        features = Features(configuration, namespaces: namespaceCount)
        features.canCache = canCache
        clearDoorbells()
    }

    func clearDoorbells() {
        for place in 0..<Limit.pageSize / 4 { unsafe doorbells[place].store(0, ordering: .relaxed) }
    }

    // MARK: Slots

    func takeSlot() -> Int? {
        guard freeSlot >= 0 else { return nil }
        let index = Int(freeSlot)
        unsafe freeSlot = slots[index].nextFree
        return index
    }

    func release(slot index: Int) {
        unsafe slots[index].nextFree = freeSlot
        freeSlot = Int32(truncatingIfNeeded: index)
    }
}
