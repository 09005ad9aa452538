internal import Glibc
public import NVMeController
public import SystemPackage

/// A store on an NBD server: qemu-nbd, nbdkit, and what they stand before.
///
/// Requests go out at once, several at a time, from and into the client's memory where its pieces are whole blocks
/// and not many; else once through memory in between. When the server goes, or says nothing for a while, what is in
/// flight fails, and so do later requests until it is back; a flush fails then if it would have covered writes that
/// the server may have lost.
///
/// Unsafe inside: requests in flight are in the pool, and their memory stays in place until they complete.
@safe
public final class NBDStore: BackingStore {
    let uri: String
    let state: UnsafeMutablePointer<State>
    /// Requests whose parts are over.
    let ended: UnsafeMutablePointer<RequestQueue<NBDProgress>>
    let abilities: NBDAbilities
    /// How long the server may say nothing while it has something to answer.
    let patience: Duration

    /// Whether it cannot be written to.
    public let isReadOnly: Bool
    /// Bytes.
    public var byteCount: UInt64 { abilities.byteCount }
    /// Whether what is written may be lost until a flush.
    public var hasVolatileCache: Bool { !isReadOnly && abilities.canFlush }
    /// The server may leave anything there.
    public var zeroesWhenDeallocated: Bool { false }
    /// Bytes; requests are multiples of it.
    public var minimumBlockSize: Int { Int(clamping: abilities.minimum) }
    /// Readable when the server has answered or gone, or should have answered by now.
    public var completionDescriptor: FileDescriptor? { unsafe state.pointee.watch.descriptor }
    /// How many requests are pending.
    public var pendingCount: Int { unsafe state.pointee.pool.count }
    /// Told in a few words of the connection's end and of its return.
    public var report: ((String) -> Void)?

    /// What changes, where looking at it checks no exclusivity.
    struct State: ~Copyable {
        var pool = RequestPool<NBDProgress>()
        var connection: NBDConnection?
        var isReady = true
        var watch: Watch
        var bounces = BouncePool()
        /// How many requests have changed something, and how many of them a flush has covered.
        var changes: UInt64 = 0
        var flushed: UInt64 = 0
        /// The next flush is to fail: what it would cover may be lost.
        var hasLostChanges = false
        /// When something was heard of the server, or had not to be until then.
        var heard = ContinuousClock.now
        /// When the timer of `watch` expires.
        var alarm: ContinuousClock.Instant?
    }

    /// Connects to a server, waiting for it.
    ///
    /// - Parameters:
    ///   - uri: `nbd://host[:port]/export`, `nbd+unix:///export?socket=path`, and whatever else libnbd knows.
    ///   - isReadOnly: also if the server would allow writes.
    ///   - patience: how long the server may say nothing, here and while it has something to answer.
    /// - Throws: why there is no connection.
    public init(uri: String, isReadOnly: Bool = false, patience: Duration = .seconds(20)) throws(NBDFailure) {
        let connection = try NBDConnection(uri)
        let end = ContinuousClock.now + patience
        while !connection.isReady {
            _ = connection.advance(timeout: 100)
            guard !connection.isLost else { throw NBDConnection.failure() }
            guard ContinuousClock.now < end else {
                throw NBDFailure(description: "the server does not answer")
            }
        }
        abilities = try connection.abilities()
        self.uri = uri
        self.patience = patience
        self.isReadOnly = isReadOnly || abilities.isReadOnly
        let watch: Watch
        do throws(Errno) { watch = try Watch() } catch { throw NBDFailure(description: "\(error)") }
        unsafe ended = .allocate(capacity: 1)
        unsafe ended.initialize(to: RequestQueue())
        unsafe state = .allocate(capacity: 1)
        unsafe state.initialize(to: State(connection: connection, watch: watch))
        follow()
    }

    deinit {
        // The server may be about to use memory of others. It has only so much time.
        while pendingCount > 0 { reap(wait: true) { _, _ in } }
        unsafe state.pointee.watch.forget()
        unsafe state.deinitialize(count: 1)
        unsafe state.deallocate()
        unsafe ended.deallocate()
    }

    /// Begins a request.
    public func start(_ request: StoreRequest) -> StoreAnswer {
        guard unsafe state.pointee.isReady else {
            connectAgain()
            return .failed(.socketNotConnected)
        }
        switch request.operation {
        case .flush:
            if unsafe state.pointee.hasLostChanges {
                unsafe state.pointee.hasLostChanges = false
                return .failed(.ioError)
            }
            guard hasVolatileCache else { return .done }
        case .deallocate: guard abilities.canTrim else { return .done }
        case .read, .write, .writeZeroes: break
        }
        let pending = unsafe state.pointee.pool.take(request, NBDProgress(ended))
        if pendingCount == 1 { unsafe state.pointee.heard = .now }
        unsafe begin(pending)
        setAlarm()
        follow()
        return .pending
    }
}
