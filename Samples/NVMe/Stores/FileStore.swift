internal import CNVMeSystem
internal import Glibc
public import NVMeController
public import SystemPackage

/// A store in a file or block device.
///
/// Requests are carried out by an io_uring of the store's own, so that no store waits for another's; what a turn of
/// the controller has begun goes to the kernel in one system call. Where the kernel refuses one
/// (``ringFailure``), they are carried out at once by the system calls that it stands for.
///
/// Requests whose memory, place and length are multiples of a page pass the page cache by (O_DIRECT), where the
/// file system can; the others go through it. A smaller unit would let both kinds use parts of one page at a time,
/// and the cache's copy of the page overwrite what went past it. A flush is fdatasync.
///
/// Unsafe inside: requests in flight are in the pool, and their memory stays in place until they complete; the store
/// does not go before they have.
@safe
public final class FileStore: BackingStore {
    private let file: StoreFile
    private let ring: Ring
    private let state: UnsafeMutablePointer<State>

    /// Whether it cannot be written to.
    public let isReadOnly: Bool
    /// Bytes.
    public var byteCount: UInt64 { file.byteCount }
    /// Whether what is written may be lost until a flush.
    public var hasVolatileCache: Bool { !isReadOnly }
    /// What a block device makes of a discarded range is its own affair.
    public var zeroesWhenDeallocated: Bool { !file.isBlockDevice }
    /// Why requests are carried out at once, and not by io_uring; `nil`: they are, or nobody asked for it.
    public var ringFailure: Errno? { ring.failure }
    /// Readable when requests are complete.
    public var completionDescriptor: FileDescriptor? { ring.descriptor }
    /// How many requests are pending.
    public var pendingCount: Int { unsafe state.pointee.pool.count }

    /// What changes for every request, where looking at it checks no exclusivity.
    private struct State: ~Copyable {
        var pool = RequestPool<FileProgress>()
        /// Requests that are to go to the kernel.
        var waiting = RequestQueue<FileProgress>()
        /// Requests that are there.
        var inFlight = 0
        var inability = FileProgress.Inability()
    }

    private static let ringCapacity: UInt32 = 128
    private static let lastOffset = UInt64(Int64.max)

    /// Opens a file.
    ///
    /// - Parameters:
    ///   - isDirect: may pass the page cache by.
    ///   - isAsynchronous: by io_uring, if the kernel allows it.
    /// - Throws: what `open` gives; `ENODEV` neither a file nor a block device; `EINVAL` empty; `EWOULDBLOCK` another
    ///   process uses it and one of both writes; `EBUSY` a block device with a mounted file system.
    public init(
        path: String, isReadOnly: Bool = false, isDirect: Bool = true, isAsynchronous: Bool = true
    ) throws(Errno) {
        file = try StoreFile(path: path, isReadOnly: isReadOnly, isDirect: isDirect)
        ring = isAsynchronous ? Ring(file, capacity: Self.ringCapacity) : Ring()
        self.isReadOnly = isReadOnly
        unsafe state = .allocate(capacity: 1)
        unsafe state.initialize(to: State())
    }

    deinit {
        // The kernel may be using memory of others.
        while pendingCount > 0 { reap(wait: true) { _, _ in } }
        unsafe state.deinitialize(count: 1)
        unsafe state.deallocate()
    }

    /// Begins a request, which goes to the kernel with the next ``reap(wait:_:)``; or carries it out at once.
    public func start(_ request: StoreRequest) -> StoreAnswer {
        if case .flush = request.operation, isReadOnly { return .done }
        // Within a file's offsets, so that sums of places cannot overflow.
        guard request.offset <= Self.lastOffset, request.byteCount <= Self.lastOffset - request.offset else {
            return .failed(.invalidArgument)
        }
        var progress = FileProgress(request, file, unsafe state.pointee.inability)
        guard ring.isOpen else { return carryOut(&progress) }
        unsafe state.pointee.waiting.append(state.pointee.pool.take(request, progress))
        return .pending
    }

    private func carryOut(_ progress: inout FileProgress) -> StoreAnswer {
        while true {
            var operation = unsafe progress.operation
            let result = unsafe withUnsafePointer(to: (file.cached, file.direct)) {
                // Two numbers, one after the other.
                unsafe $0.withMemoryRebound(to: CInt.self, capacity: 2) {
                    unsafe nvmesys_perform($0, &operation)
                }
            }
            switch unsafe progress.advance(Int(result), &state.pointee.inability) {
            case .again: continue
            case .done: return .done
            case .failed(let error): return .failed(error)
            }
        }
    }

    /// Gives the kernel what has been begun, and tells what is complete.
    public func reap(wait: Bool, _ completed: (UInt32, Errno?) -> Void) {
        var mustWait = wait
        while pendingCount > 0 {
            submitWaiting()
            // It is short of memory: others give it back meanwhile.
            if !ring.submit(wait: mustWait), mustWait { usleep(1000) }
            var taken = 0
            while let (data, result) = unsafe ring.next() {
                taken += 1
                unsafe state.pointee.inFlight -= 1
                let pending = unsafe data.assumingMemoryBound(to: PendingRequest<FileProgress>.self)
                let step = unsafe pending.pointee.progress.advance(result, &state.pointee.inability)
                if case .again = step {
                    unsafe state.pointee.waiting.append(pending)
                    continue
                }
                let token = unsafe pending.pointee.request.token
                unsafe state.pointee.pool.giveBack(pending)
                mustWait = false
                if case .failed(let error) = step { completed(token, error) } else { completed(token, nil) }
            }
            // What was only done in part goes on now, and what found no room.
            guard unsafe mustWait || (taken > 0 && !state.pointee.waiting.isEmpty) else { return }
        }
    }

    /// Takes down what waits, as far as there is room: of completions none may be lost.
    private func submitWaiting() {
        while unsafe state.pointee.inFlight < ring.capacity,
            let pending = unsafe state.pointee.waiting.takeFirst()
        {
            var operation = unsafe pending.pointee.progress.operation
            if unsafe !ring.add(&operation, pending) {
                _ = ring.submit(wait: false)
                guard unsafe ring.add(&operation, pending) else {
                    unsafe state.pointee.waiting.putBack(pending)
                    return
                }
            }
            unsafe state.pointee.inFlight += 1
        }
    }
}
