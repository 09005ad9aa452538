internal import Synchronization

/// Entries for a completion queue that are not there yet: those of one cache line are written together, for a client that
/// looks at it fetches the line again after every write.
@safe
struct StagedCompletions {
    static let capacity = 4
    /// The queue, and where in it the first belongs.
    var queue = 0
    var first: UInt32 = 0
    var count = 0
    /// ``capacity`` entries of 16 bytes.
    let entries: UnsafeMutablePointer<(low: UInt64, high: UInt64)>

    init() {
        unsafe entries = .allocate(capacity: Self.capacity)
        unsafe entries.initialize(repeating: (0, 0), count: Self.capacity)
    }
}

extension NVMeController {
    /// Ends a command: its slot is free, and the client is told.
    func complete(_ slot: Int, _ status: Status, result: UInt32 = 0) {
        let command = unsafe slots + slot
        let queue = unsafe command.pointee.queue
        let identifier = unsafe command.pointee.entry.identifier
        // After a reset nobody waits for it.
        guard unsafe command.pointee.resetCount == resetCount, unsafe submissions[queue].isActive else {
            return release(slot: slot)
        }
        let number = unsafe submissions[queue].completions
        let isElsewhere = unsafe state.pointee.staged.queue != number
        if isInterrupted || (stagedCount > 0 && isElsewhere) {
            guard canPost(to: number) else { return putOff(slot, status, result) }
        }
        release(slot: slot)
        var status = status
        if !status.isSuccess { status = record(slot, status) }
        post(queue, identifier, status, result)
    }

    /// Makes sure that nothing is in the way of another entry for a completion queue.
    ///
    /// - Returns: whether nothing is: the controller may have been reset, or its client comes first.
    @inline(never)
    func canPost(to number: Int) -> Bool {
        guard !isInterrupted else { return false }
        guard stagedCount > 0, unsafe state.pointee.staged.queue != number else { return true }
        let resets = resetCount
        postStaged()
        return resets == resetCount && !isInterrupted
    }

    /// Adds an entry to the completion queue of a submission queue, which ``canPost(to:)``. Room was found for it when the
    /// command was begun, and the client sees it by the end of the turn, unless that is interrupted.
    func post(_ queue: Int, _ identifier: UInt16, _ status: Status, _ result: UInt32) {
        let submission = unsafe submissions + queue
        let number = unsafe submission.pointee.completions
        let completion = unsafe completions + number
        if stagedCount == 0 {
            unsafe state.pointee.staged.queue = number
            unsafe state.pointee.staged.first = completion.pointee.tail
        }
        let dword3 =
            unsafe UInt32(identifier) | completion.pointee.phase << 16 | UInt32(status.rawValue) << 17
        let dword2 = unsafe submission.pointee.head | UInt32(truncatingIfNeeded: queue) << 16
        // Never more than the capacity: what fills a line is posted below.
        unsafe state.pointee.staged.entries[stagedCount] = (
            UInt64(result), UInt64(dword3) << 32 | UInt64(dword2)
        )
        stagedCount &+= 1
        var next = unsafe completion.pointee.tail &+ 1
        if unsafe next == completion.pointee.size {
            next = 0
            unsafe completion.pointee.phase ^= 1
        }
        unsafe completion.pointee.tail = next
        if unsafe completion.pointee.interrupts {
            unsafe completion.pointee.owesInterrupt = true
            owesInterrupts = true
        }
        if next % UInt32(StagedCompletions.capacity) == 0 { postStaged() }
    }

    /// Writes the entries that are waiting to their queue.
    @inline(never)
    func postStaged() {
        let count = stagedCount
        guard count > 0 else { return }
        stagedCount = 0
        let number = unsafe state.pointee.staged.queue
        let entries = unsafe state.pointee.staged.entries
        let offset = unsafe Int(state.pointee.staged.first) &* Limit.completionByteCount
        let address = unsafe completions[number].address &+ UInt64(offset)
        let byteCount = count &* Limit.completionByteCount
        if let base = unsafe completionBase(number) {
            var place = unsafe base + offset
            // They end where the queue does at the latest, all of which is there. The half with the phase bit is last.
            for index in 0..<count {
                unsafe place.storeBytes(of: entries[index].low, as: UInt64.self)
                unsafe (place + 8).assumingMemoryBound(to: Atomic<UInt64>.self).pointee
                    .store(entries[index].high, ordering: .releasing)
                unsafe place += Limit.completionByteCount
            }
            noteWritten(address, byteCount)
            return
        }
        let resets = resetCount
        let isWritten = unsafe host.write(address, from: entries, count: byteCount)
        guard resets == resetCount, !isWritten else { return }
        // They are written again in another turn.
        if isInterrupted { stagedCount = count } else { failFatally() }
    }

    @inline(__always)
    private func completionBase(_ number: Int) -> UnsafeMutableRawPointer? {
        let queue = unsafe completions + number
        if unsafe queue.pointee.memoryEpoch != memoryEpoch { findCompletions(number) }
        return unsafe queue.pointee.base
    }

    /// Finds a completion queue in this process. One that does not lie there as a whole is written by copies, and some of
    /// it may be the client's to fetch by messages.
    func findCompletions(_ number: Int) {
        let queue = unsafe completions + number
        unsafe queue.pointee.memoryEpoch = memoryEpoch
        let count = unsafe Int(queue.pointee.size) * Limit.completionByteCount
        unsafe queue.pointee.base = reachAll(queue.pointee.address, count, writing: true, alignment: 8)
        if unsafe queue.pointee.base == nil { unsafe state.pointee.usesCopies = true }
    }

    /// Looks how far the client has taken completions, which makes room.
    @inline(never)
    func refreshHead(_ number: Int) {
        let queue = unsafe completions + number
        let head = head(of: number)
        if unsafe head == queue.pointee.head { return }
        guard let steps = unsafe queue.pointee.steps(to: head) else {
            if unsafe queue.pointee.refusedHead != head {
                unsafe queue.pointee.refusedHead = head
                report(.invalidDoorbellValue)
            }
            return
        }
        unsafe queue.pointee.head = head
        unsafe queue.pointee.room &+= steps
    }
}
