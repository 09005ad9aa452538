/// A submission queue, as the controller keeps it (NVMe 1.4, 4.1).
@safe
struct SubmissionQueue {
    var isActive = false
    /// Where it is in client memory.
    var address: UInt64 = 0
    /// Entries, 2...4096.
    var size: UInt32 = 0
    /// The next entry to fetch.
    var head: UInt32 = 0
    /// Behind the last entry the client has submitted.
    var tail: UInt32 = 0
    /// The completion queue.
    var completions = 0
    /// The first entry in this process, if all of the queue can be reached there.
    var base: UnsafeMutableRawPointer?
    /// Which state of client memory `base` belongs to.
    var memoryEpoch: UInt64 = 0
    /// The doorbell value that was refused last, so that it is reported once.
    var refusedTail = UInt32.max
    /// Its commands that stores have pending, or that are put off.
    var pending = 0
    /// The slot of the command that deletes it, until none is.
    var deletion: Int?

    init() {}
}

/// A completion queue.
@safe
struct CompletionQueue {
    var isActive = false
    var address: UInt64 = 0
    /// Entries, 2...4096.
    var size: UInt32 = 0
    /// The oldest entry the client has not taken yet.
    var head: UInt32 = 0
    /// The next entry to fill.
    var tail: UInt32 = 0
    /// The phase bit of entries being filled, 1 or 0.
    var phase: UInt32 = 1
    /// Entries that are neither the client's to take nor kept for commands that are being carried out, nor the one that
    /// is always empty.
    var room: UInt32 = 0
    var vector: UInt16 = 0
    var interrupts = false
    /// Entries were added since the last interrupt.
    var owesInterrupt = false
    /// Submission queues that use it.
    var users = 0
    var base: UnsafeMutableRawPointer?
    var memoryEpoch: UInt64 = 0
    var refusedHead = UInt32.max

    init() {}

    /// Entries the client has not taken.
    var used: UInt32 { tail >= head ? tail &- head : tail &+ size &- head }

    /// How many entries the client has taken if its head is at `value`; `nil`: more than there are.
    func steps(to value: UInt32) -> UInt32? {
        guard value < size else { return nil }
        let steps = value >= head ? value &- head : value &+ size &- head
        return steps <= used ? steps : nil
    }
}

/// One command being carried out. Its vectors and ranges are in the controller's pools.
@safe
struct Slot {
    var entry = SubmissionEntry()
    var queue = 0
    /// What there is to do when the store is done.
    var ending = Ending.none
    /// Bytes of data.
    var byteCount = 0
    var rangeCount = 0
    var vectorCount = 0
    /// Memory between store and client, where data cannot move directly.
    var bounce: UnsafeMutableRawPointer?
    /// The free list, or that of commands that are put off.
    var nextFree: Int32 = -1
    var isPending = false
    /// Requests that are not complete yet, of a command that is several.
    var pendingParts = 0
    var status = Status.success
    /// Dword 0 of its completion, if that is put off.
    var result: UInt32 = 0
    /// The controller's count of resets when it was fetched: after another one nobody waits for the command.
    var resetCount: UInt64 = 0

    init() {}

    /// What follows the store's part.
    enum Ending {
        case none
        /// Tell the host that client memory was written.
        case mark
        /// Copy what was read to the client.
        case deliver
        /// Compare what was read with the client's data.
        case compare
        /// What was changed is to be made durable.
        case flush
        /// What is left of a shutdown: nobody's command.
        case shutdown
        /// A format goes on or is done.
        case format
        /// The write cache is off, and now empty.
        case emptyCache
        /// Nothing but its completion, which could not be written.
        case tell
        /// All of it: its copies could not be made.
        case again
    }
}

/// A range of client memory.
struct MemoryRange: BitwiseCopyable {
    var address: UInt64
    /// At most the largest transfer.
    var count: UInt32
    /// No memory, but data to be left out (bit buckets).
    var isDiscarded: Bool
}
