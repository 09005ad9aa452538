internal import Synchronization

/// Doorbells in client memory (NVMe 1.4, 5.7, Doorbell Buffer Config), of the I/O queues.
@safe
struct ShadowDoorbells {
    var isActive = false
    /// Where the client writes its doorbells, and where it reads which values it is to ring for.
    var tailsAddress: UInt64 = 0
    var eventsAddress: UInt64 = 0
    var tails: UnsafeMutablePointer<Atomic<UInt32>>?
    var events: UnsafeMutablePointer<Atomic<UInt32>>?

    init() {}
}

extension NVMeController {
    func configureShadowDoorbells(_ entry: SubmissionEntry) -> Status {
        guard configuration.offersShadowDoorbells else { return .invalidOpcode }
        guard entry.prp1 & 0xfff == 0, entry.prp2 & 0xfff == 0, entry.prp1 != 0, entry.prp2 != 0,
            entry.prp1 != entry.prp2
        else { return .invalidField }
        let old = shadow
        var new = ShadowDoorbells()
        new.isActive = true
        new.tailsAddress = entry.prp1
        new.eventsAddress = entry.prp2
        shadow = new
        // Memory that can only be asked for by messages is no place to look at all the time.
        guard resolveShadow() else {
            shadow = old
            return .dataTransferError
        }
        guard let tails = unsafe shadow.tails else { return .internalError }
        for place in 1..<queueCount {
            if unsafe submissions[place].isActive {
                unsafe tails[2 * place].store(submissions[place].head, ordering: .relaxed)
            }
            if unsafe completions[place].isActive {
                unsafe tails[2 * place + 1].store(completions[place].head, ordering: .relaxed)
                askToRing(completions: place)
            }
        }
        noteWritten(shadow.tailsAddress, Limit.pageSize)
        return .success
    }

    /// Finds both pages in this process.
    private func resolveShadow() -> Bool {
        let size = Limit.pageSize
        guard let tails = unsafe reachAll(shadow.tailsAddress, size, writing: true, alignment: 4),
            let events = unsafe reachAll(shadow.eventsAddress, size, writing: true, alignment: 4)
        else { return false }
        unsafe shadow.tails = tails.assumingMemoryBound(to: Atomic<UInt32>.self)
        unsafe shadow.events = events.assumingMemoryBound(to: Atomic<UInt32>.self)
        return true
    }

    /// Where the doorbell of a queue is; `nil`: nowhere now.
    @inline(__always)
    private func doorbell(_ place: Int) -> UnsafeMutablePointer<Atomic<UInt32>>? {
        guard shadow.isActive, place > 1 else { return unsafe doorbells + place }
        if unsafe shadow.tails == nil { _ = resolveShadow() }
        // 130 doorbells at most, in a page of 1024.
        return unsafe shadow.tails.map { unsafe $0 + place }
    }

    /// What the client says the tail of a submission queue is. Any value is possible.
    @inline(__always)
    func tail(of queue: Int) -> UInt32 {
        guard let doorbell = unsafe doorbell(2 &* queue) else { return unsafe submissions[queue].tail }
        return unsafe doorbell.pointee.load(ordering: .acquiring)
    }

    /// What the client says the head of a completion queue is.
    @inline(__always)
    func head(of queue: Int) -> UInt32 {
        guard let doorbell = unsafe doorbell(2 &* queue &+ 1) else { return unsafe completions[queue].head }
        return unsafe doorbell.pointee.load(ordering: .acquiring)
    }

    func clearShadow(_ place: Int) {
        guard shadow.isActive, let doorbell = unsafe doorbell(place) else { return }
        unsafe doorbell.pointee.store(0, ordering: .relaxed)
        noteWritten(shadow.tailsAddress &+ UInt64(4 * place), 4)
        guard let events = unsafe shadow.events else { return }
        unsafe events[place].store(0, ordering: .relaxed)
        noteWritten(shadow.eventsAddress &+ UInt64(4 * place), 4)
    }

    /// Has the client ring the real doorbell at its next submission, and at its next completion taken.
    func askToRing(_ queue: Int) {
        guard let events = unsafe shadow.events else { return }
        unsafe events[2 * queue].store(submissions[queue].tail, ordering: .relaxed)
        noteWritten(shadow.eventsAddress &+ UInt64(8 * queue), 4)
        let completion = unsafe submissions[queue].completions
        // With INTx, when it is signalled.
        if unsafe host.hasVectors || !completions[completion].interrupts {
            askToRing(completions: completion)
        }
        // Before looking at the doorbells again: the client writes them, and then reads the event indices.
        atomicMemoryFence(ordering: .sequentiallyConsistent)
    }

    /// Has the client ring the real doorbell at its next completion taken.
    func askToRing(completions queue: Int) {
        guard queue > 0, let events = unsafe shadow.events else { return }
        unsafe events[2 * queue + 1].store(completions[queue].head, ordering: .relaxed)
        noteWritten(shadow.eventsAddress &+ UInt64(8 * queue + 4), 4)
    }
}
