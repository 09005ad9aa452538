/// Commands that wait for another turn, in the order in which they came to it: a list through their slots.
struct ParkedCommands {
    var count = 0
    var first: Int32 = -1
    var last: Int32 = -1
}

/// Turns that are cut short, since what the client asks for has to come before more of its memory can be copied.
///
/// A command that needed the copy is carried out again from its beginning in a later turn: what it moved may be moved
/// again, to or from wherever its addresses lead by then. One that was done, but whose completion could not be written,
/// is completed then.
extension NVMeController {
    /// Ends the turn: to be called by a copy of client memory that could not be made for now, before it fails. The
    /// controller tries again in the next turn.
    public func interrupt() { isInterrupted = true }

    /// Whether the copies of client memory had to wait in the last turn.
    public var wasInterrupted: Bool { isInterrupted }

    /// Does what an earlier turn could not do, as far as memory can be copied again.
    ///
    /// - Returns: how many commands that were.
    @discardableResult
    @inline(never)
    func catchUp() -> Int {
        isInterrupted = false
        if stagedCount > 0 { postStaged() }
        let done = continueParked()
        mayReport = true
        return done
    }

    /// Whether commands are put off.
    var hasParked: Bool { unsafe state.pointee.parked.count > 0 }

    /// A command cannot be completed now: it waits, if anybody waits for it.
    @inline(never)
    func putOff(_ slot: Int, _ status: Status, _ result: UInt32) {
        guard isInterrupted, unsafe slots[slot].resetCount == resetCount else { return release(slot: slot) }
        // A copy failed for no other reason. What has failed in truth does so again.
        unsafe slots[slot].ending = status == .dataTransferError ? .again : .tell
        unsafe slots[slot].status = status
        unsafe slots[slot].result = result
        unsafe slots[slot].nextFree = -1
        let last = unsafe state.pointee.parked.last
        if last >= 0 {
            unsafe slots[Int(last)].nextFree = Int32(truncatingIfNeeded: slot)
        } else {
            unsafe state.pointee.parked.first = Int32(truncatingIfNeeded: slot)
        }
        unsafe state.pointee.parked.last = Int32(truncatingIfNeeded: slot)
        unsafe state.pointee.parked.count += 1
        // Its queue is not deleted before.
        unsafe submissions[slots[slot].queue].pending += 1
    }

    /// The first of those that are put off.
    private func takeParked() -> Int? {
        let first = unsafe state.pointee.parked.first
        guard first >= 0 else { return nil }
        let next = unsafe slots[Int(first)].nextFree
        unsafe state.pointee.parked.first = next
        if next < 0 { unsafe state.pointee.parked.last = -1 }
        unsafe state.pointee.parked.count -= 1
        return Int(first)
    }

    /// Goes on with what was put off in earlier turns.
    ///
    /// - Returns: how many commands.
    private func continueParked() -> Int {
        var done = 0
        // Some may be put off again, behind these.
        for _ in unsafe 0..<state.pointee.parked.count {
            // What was begun is done before a shutdown is complete.
            guard !isInterrupted, isRunning || due.contains(.shutdown), let slot = takeParked() else { break }
            done += 1
            let queue = unsafe slots[slot].queue
            let resets = resetCount
            if unsafe slots[slot].ending == .tell {
                unsafe complete(slot, slots[slot].status, result: slots[slot].result)
            } else {
                prepare(slot, queue)
                if queue != 0 { unsafe counters.pointee.commands &-= 1 }
                queue == 0 ? executeAdmin(slot) : executeNVM(slot)
            }
            guard resets == resetCount else { break }
            countDown(queue)
        }
        return done
    }

    /// One of a queue's commands that it would not be deleted before has ended.
    func countDown(_ queue: Int) {
        unsafe submissions[queue].pending -= 1
        guard unsafe submissions[queue].pending == 0, let deletion = unsafe submissions[queue].deletion else {
            return
        }
        unsafe submissions[queue].deletion = nil
        removeSubmissionQueue(queue)
        complete(deletion, .success)
    }

    /// Nobody waits for them any more: a reset, or a fatal error.
    func forgetParked() {
        while let slot = takeParked() { release(slot: slot) }
    }
}
