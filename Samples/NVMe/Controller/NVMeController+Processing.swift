internal import CNVMeSystem
internal import Synchronization
internal import SystemPackage

extension NVMeController {
    /// Carries out what the client has submitted, up to `budget` commands of each queue, and tells of what is done.
    ///
    /// - Returns: how many commands were begun or completed; 0: there was nothing to do.
    @discardableResult
    public func process(budget: Int = 64) -> Int {
        if asksForTracking { askForTracking() }
        if !due.isEmpty { finishDue() }
        // The server copies nothing before the client has been answered, for which the device has to be quiesced.
        var done = isInterrupted && !isPaused ? catchUp() : 0
        if isRunning, !isPaused, !isInterrupted {
            let resets = resetCount
            var place = 0
            while place < activeCount {
                let identifier = unsafe Int(active[place])
                place &+= 1
                guard unsafe tail(of: identifier) != submissions[identifier].head else { continue }
                done &+= serve(identifier, budget)
                if stagedCount > 0 { postStaged() }
                guard isRunning, resetCount == resets, !isInterrupted else { break }
            }
        }
        if pendingSlots > 0 { done &+= reap(wait: false) }
        if mayReport { deliverEvents() }
        if stagedCount > 0, !isInterrupted { postStaged() }
        // Not before there is something to see.
        if owesInterrupts || levelIsHigh, stagedCount == 0 { signalInterrupts() }
        return done
    }

    /// Goes on with a reset when nothing uses client memory any more, with a shutdown when no store has anything pending,
    /// with a format when its namespaces' have not.
    @inline(never)
    private func finishDue() {
        if pendingSlots > 0 { reap(wait: false) }
        if due.contains(.disable) {
            if !isUsingMemory { finishDisabling() }
        } else if due.contains(.shutdown) {
            if pendingSlots == 0, !hasParked, stagedCount == 0 { flushForShutdown() }
        } else {
            beginFormat()
        }
    }

    /// Everything the client asked for before is done, and becomes durable (NVMe 1.4, 7.6.2).
    private func flushForShutdown() {
        // Nothing is pending or put off, so there is one.
        guard let slot = takeSlot() else { return }
        due.remove(.shutdown)
        unsafe slots[slot].entry = SubmissionEntry()
        prepare(slot, 0)
        unsafe slots[slot].ending = .shutdown
        for place in 0..<namespaceCount { issue(slot, place, .flush, 0, 0) }
        settle(slot)
    }

    /// A slot whose entry is there is one of a queue's commands from now on.
    @inline(__always)
    func prepare(_ slot: Int, _ queue: Int) {
        let command = unsafe slots + slot
        unsafe command.pointee.queue = queue
        unsafe command.pointee.ending = .none
        unsafe command.pointee.pendingParts = 0
        unsafe command.pointee.status = .success
        unsafe command.pointee.resetCount = resetCount
    }

    @inline(never)
    private func askForTracking() {
        asksForTracking = false
        isTracked = unsafe host.tracksWrites
    }

    // MARK: Submission

    /// Fetches and carries out commands of one queue.
    private func serve(_ identifier: Int, _ budget: Int) -> Int {
        let queue = unsafe submissions + identifier
        let tail = tail(of: identifier)
        guard unsafe tail < queue.pointee.size else {
            refuse(tail, of: identifier)
            return 0
        }
        unsafe queue.pointee.tail = tail
        let completion = unsafe completions + queue.pointee.completions
        let resets = resetCount
        var done = 0
        while unsafe queue.pointee.head != queue.pointee.tail, done < budget {
            if unsafe completion.pointee.room == 0 {
                unsafe refreshHead(queue.pointee.completions)
                if unsafe completion.pointee.room == 0 { break }
            }
            guard let slot = takeSlot() else { break }
            guard fetch(identifier, into: slot) else {
                release(slot: slot)
                // Also when the client has gone meanwhile.
                if resets == resetCount, !isInterrupted { failFatally() }
                return done
            }
            unsafe completion.pointee.room &-= 1
            prefetch(identifier)
            identifier == 0 ? executeAdmin(slot) : executeNVM(slot)
            done &+= 1
            guard resets == resetCount, isRunning else { return done }
            if isInterrupted { break }
        }
        if shadow.isActive, identifier != 0, !configuration.isPolled { askToRing(identifier) }
        return done
    }

    /// A tail outside of its queue, which is reported once.
    @inline(never)
    private func refuse(_ tail: UInt32, of identifier: Int) {
        guard unsafe submissions[identifier].refusedTail != tail else { return }
        unsafe submissions[identifier].refusedTail = tail
        report(.invalidDoorbellValue)
    }

    /// Copies the next entry of a queue, so that the client cannot change what has been checked.
    private func fetch(_ identifier: Int, into slot: Int) -> Bool {
        let queue = unsafe submissions + identifier
        let offset = unsafe Int(queue.pointee.head) &* SubmissionEntry.byteCount
        if let base = unsafe base(of: identifier) {
            // The head is below the queue's size, all of which is there.
            unsafe slots[slot].entry = (base + offset).load(as: SubmissionEntry.self)
        } else {
            let address = unsafe queue.pointee.address &+ UInt64(offset)
            let isRead = unsafe withUnsafeMutableBytes(of: &slots[slot].entry) {
                // All of an entry, which has an address.
                guard let target = $0.baseAddress else { return false }
                return unsafe host.read(address, into: target, count: SubmissionEntry.byteCount)
            }
            guard isRead else { return false }
        }
        // Whatever is read from here on is the copy.
        atomicMemoryFence(ordering: .acquiring)
        prepare(slot, identifier)
        let next = unsafe queue.pointee.head &+ 1
        unsafe queue.pointee.head = next == queue.pointee.size ? 0 : next
        return true
    }

    /// Has the processor fetch what the command after this one will probably read. Nothing depends on it: the entry is
    /// looked at in place, and judged when its turn comes.
    @inline(__always)
    private func prefetch(_ identifier: Int) {
        let queue = unsafe submissions + identifier
        guard unsafe queue.pointee.head != queue.pointee.tail, let base = unsafe queue.pointee.base else {
            return
        }
        let entry = unsafe base + Int(queue.pointee.head) &* SubmissionEntry.byteCount
        let namespace = unsafe Int(entry.load(fromByteOffset: 4, as: UInt32.self)) &- 1
        guard namespace >= 0, namespace < namespaceCount, let memory = unsafe namespaces[namespace].memory
        else { return }
        let block = unsafe entry.load(fromByteOffset: 40, as: UInt64.self)
        guard unsafe block < namespaces[namespace].blockCount else { return }
        let place = unsafe memory + Int(truncatingIfNeeded: block &<< namespaces[namespace].blockShift)
        // The rest of a block follows by itself.
        for line in 0..<4 { unsafe nvmesys_prefetch(place + line &* 64) }
    }

    /// The first entry of a submission queue, if it can be reached by address.
    @inline(__always)
    private func base(of identifier: Int) -> UnsafeMutableRawPointer? {
        let queue = unsafe submissions + identifier
        if unsafe queue.pointee.memoryEpoch != memoryEpoch {
            unsafe queue.pointee.memoryEpoch = memoryEpoch
            let count = unsafe Int(queue.pointee.size) * SubmissionEntry.byteCount
            unsafe queue.pointee.base = reachAll(
                queue.pointee.address, count, writing: false,
                alignment: MemoryLayout<SubmissionEntry>.alignment)
            // Whoever has to quiesce must know before the first command is begun how its completion gets to the client.
            unsafe findCompletions(queue.pointee.completions)
        }
        return unsafe queue.pointee.base
    }

    // MARK: Interrupts

    /// Tells of new completions: each vector once, or by the level of INTx.
    func signalInterrupts() {
        guard unsafe host.hasVectors else { return signalLevel() }
        owesInterrupts = false
        levelIsHigh = false
        for number in 0..<queueCount where unsafe completions[number].owesInterrupt {
            unsafe completions[number].owesInterrupt = false
            unsafe counters.pointee.interrupts &+= 1
            unsafe host.signal(vector: completions[number].vector)
        }
    }

    /// INTx is asserted as long as a queue whose vector is not masked has entries the client has not taken.
    func signalLevel() {
        owesInterrupts = false
        var isHigh = false
        for number in 0..<queueCount where unsafe completions[number].isActive {
            guard unsafe completions[number].interrupts, unsafe completions[number].vector < 32,
                unsafe registers.interruptMask >> UInt32(completions[number].vector) & 1 == 0
            else { continue }
            refreshHead(number)
            if unsafe completions[number].used > 0 { isHigh = true }
        }
        if isHigh, !levelIsHigh {
            // The client's machine takes an access to a BAR for the end of the interrupt: there must be one for each.
            if shadow.isActive { for number in 1..<queueCount { askToRing(completions: number) } }
            unsafe counters.pointee.interrupts &+= 1
            unsafe host.signal(vector: 0)
        } else if !isHigh, levelIsHigh {
            unsafe host.withdraw()
        }
        levelIsHigh = isHigh
    }

    /// The client has serviced an INTx interrupt: if there is still cause for one, the next
    /// ``process(budget:)`` signals again.
    public func interruptServiced() {
        wakeCount &+= 1
        levelIsHigh = false
        owesInterrupts = true
    }

    // MARK: Pending commands

    /// Completes what stores have done.
    ///
    /// - Parameters:
    ///   - wait: for something of each store.
    ///   - formats: also for what is nothing but a format.
    /// - Returns: how many requests.
    @discardableResult
    func reap(wait: Bool, formats: Bool = false) -> Int {
        var count = 0
        for place in 0..<namespaceCount {
            let store = unsafe namespaces[place].store
            guard store.pendingCount > 0 else { continue }
            store.reap(wait: wait && (formats || !isOnlyFormatting(place))) { [self] token, error in
                count += 1
                finished(token, error)
            }
        }
        return count
    }

    /// Begins no command until ``resume()``; ``process(budget:)`` completes those under way. Until it has,
    /// ``isUsingMemory``. What they have to copy from or to memory that is reached by messages may wait until then too.
    public func pause() {
        isPaused = true
    }

    /// Whether some of the client memory in use can be had by copies only.
    public var usesCopies: Bool {
        // A format began with other memory perhaps, and its completion is to come.
        if formatting != nil, unsafe completions[0].isActive { findCompletions(0) }
        return unsafe state.pointee.usesCopies
    }

    /// Waits for stores until nothing uses client memory, and tells the client of what is done. Also of a controller that
    /// is paused, while memory can be copied.
    public func finishPending() {
        if isInterrupted { catchUp() }
        drain()
        if !isInterrupted { postStaged() }
    }

    /// Begins commands again. Before the next one the host is asked again whether it tracks writes: what the controller was
    /// paused for may have changed that.
    public func resume() {
        isPaused = false
        asksForTracking = true
    }

    /// Whether stores have anything pending.
    public var isBusy: Bool { pendingSlots > 0 }

    /// Whether stores have anything pending but a format, which uses no client memory.
    public var isUsingMemory: Bool {
        let isFormatting = formatting.map { $0.phase != .waiting } ?? false
        return pendingSlots > (isFormatting ? 1 : 0)
    }

    /// Waits until nothing uses client memory, or also for a format.
    func drain(formats: Bool = false) {
        while formats ? isBusy : isUsingMemory, reap(wait: true, formats: formats) > 0 {}
    }

    /// A store has completed one request of a command.
    func finished(_ token: UInt32, _ error: Errno?) {
        let slot = Int(token)
        guard slot < configuration.slots, unsafe slots[slot].isPending else { return }
        if let error { unsafe slots[slot].status = status(of: error, slot) }
        unsafe slots[slot].pendingParts -= 1
        guard unsafe slots[slot].pendingParts == 0 else { return }
        unsafe slots[slot].isPending = false
        pendingSlots -= 1
        let queue = unsafe slots[slot].queue
        // After a reset the queue is another one.
        let isCounted = unsafe slots[slot].resetCount == resetCount
        let resets = resetCount
        end(slot)
        if isCounted, resets == resetCount { countDown(queue) }
    }
}
