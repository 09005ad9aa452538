internal import NVMeController

/// A request that a store has not completed yet, and how far it is.
@safe
struct PendingRequest<Progress: BitwiseCopyable> {
    var request: StoreRequest
    var progress: Progress
    /// The next one in the queue that it is in.
    var next: UnsafeMutablePointer<PendingRequest>?

    init(_ request: StoreRequest, _ progress: Progress) {
        self.request = request
        self.progress = progress
        unsafe next = nil
    }
}

/// Memory for pending requests. A request stays where it is, and what has been used once is used again.
///
/// Unsafe inside: every pointer is into a block, and blocks live as long as the pool.
@safe
struct RequestPool<Progress: BitwiseCopyable>: ~Copyable {
    typealias Pointer = UnsafeMutablePointer<PendingRequest<Progress>>

    private var blocks: [Pointer] = unsafe []
    private var free = RequestQueue<Progress>()
    /// Requests that are taken.
    private(set) var count = 0
    private static var blockCount: Int { 256 }

    /// Room for a request. Allocates only when more are pending than ever before.
    mutating func take(_ request: StoreRequest, _ progress: Progress) -> Pointer {
        let pending = unsafe free.takeFirst() ?? enlarge()
        unsafe pending.pointee = PendingRequest(request, progress)
        count += 1
        return unsafe pending
    }

    /// The request is complete.
    mutating func giveBack(_ pending: Pointer) {
        unsafe free.append(pending)
        count -= 1
    }

    private mutating func enlarge() -> Pointer {
        let block = Pointer.allocate(capacity: Self.blockCount)
        unsafe blocks.append(block)
        // Only the links are looked at before a request is put there.
        for place in 1..<Self.blockCount { unsafe free.append(block + place) }
        return unsafe block
    }

    deinit { for index in unsafe blocks.indices { unsafe blocks[index].deallocate() } }
}

/// Requests in the order in which they came.
///
/// Unsafe inside: it links requests of a pool, each of which is in one queue at most.
@safe
struct RequestQueue<Progress: BitwiseCopyable> {
    typealias Pointer = UnsafeMutablePointer<PendingRequest<Progress>>

    private var first: Pointer?
    private var last: Pointer?

    init() {
        unsafe first = nil
        unsafe last = nil
    }

    var isEmpty: Bool { unsafe first == nil }

    mutating func append(_ pending: Pointer) {
        unsafe pending.pointee.next = nil
        if let last = unsafe last { unsafe last.pointee.next = pending } else { unsafe first = pending }
        unsafe last = unsafe pending
    }

    mutating func putBack(_ pending: Pointer) {
        unsafe pending.pointee.next = unsafe first
        unsafe first = unsafe pending
        if unsafe last == nil { unsafe last = unsafe pending }
    }

    mutating func takeFirst() -> Pointer? {
        guard let taken = unsafe first else { return nil }
        unsafe first = unsafe taken.pointee.next
        if unsafe first == nil { unsafe last = nil }
        return unsafe taken
    }
}
