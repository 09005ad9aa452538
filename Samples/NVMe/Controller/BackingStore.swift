public import Glibc
public import SystemPackage

/// What a store is asked to do.
@safe
public struct StoreRequest {
    /// The kinds of work.
    public enum Operation: Sendable {
        /// Fill `vectors` from the store.
        case read
        /// Write `vectors` to the store; `isDurable`: past any volatile cache.
        case write(isDurable: Bool)
        /// Make everything that has been written durable.
        case flush
        /// Make a range read as zeros; `mayDeallocate`: and take no room.
        case writeZeroes(mayDeallocate: Bool)
        /// The contents of a range are no longer needed; see ``BackingStore/zeroesWhenDeallocated``.
        case deallocate
    }

    /// The kind of work.
    public var operation: Operation
    /// Where, in bytes: within the store.
    public var offset: UInt64
    /// How much, in bytes.
    public var byteCount: UInt64
    /// The memory, `byteCount` bytes in all. Stays in place until the request is completed.
    public var vectors: UnsafeMutableBufferPointer<iovec>
    /// What to complete the request by.
    public var token: UInt32

    /// A request.
    public init(
        _ operation: Operation, offset: UInt64, byteCount: UInt64,
        vectors: UnsafeMutableBufferPointer<iovec>, token: UInt32
    ) {
        self.operation = operation
        self.offset = offset
        self.byteCount = byteCount
        unsafe self.vectors = unsafe vectors
        self.token = token
    }
}

/// What became of a request.
public enum StoreAnswer: Equatable, Sendable {
    /// It is done.
    case done
    /// It cannot be done, or only some of it.
    case failed(Errno)
    /// ``BackingStore/reap(wait:_:)`` tells later.
    case pending
}

/// Where the blocks of a namespace are.
///
/// A store does one thing: it carries out a request, at once or later. All calls come from one thread.
public protocol BackingStore: AnyObject {
    /// Bytes.
    var byteCount: UInt64 { get }
    /// Whether it cannot be written to.
    var isReadOnly: Bool { get }
    /// Whether what is written may be lost until a flush.
    var hasVolatileCache: Bool { get }
    /// Whether a deallocated range reads as zeros, and not as anything.
    var zeroesWhenDeallocated: Bool { get }
    /// What the place and length of requests must be multiples of: bytes, a power of two.
    var minimumBlockSize: Int { get }
    /// A store in memory: its bytes, which the controller then reads and writes itself.
    var bytes: UnsafeMutableRawBufferPointer? { get }
    /// Carries out a request, or begins to; what is pending may be put off until ``reap(wait:_:)``.
    func start(_ request: StoreRequest) -> StoreAnswer
    /// Tells which of the requests that were pending are complete, and goes on with those that are not.
    ///
    /// - Parameter wait: for at least one, if any is pending.
    func reap(wait: Bool, _ completed: (UInt32, Errno?) -> Void)
    /// How many requests are pending.
    var pendingCount: Int { get }
    /// Readable when there is something for ``reap(wait:_:)`` to do, whether or not anything is pending; `nil`: it
    /// must be called over and over while something is.
    var completionDescriptor: FileDescriptor? { get }
}

extension BackingStore {
    /// It is not in memory.
    public var bytes: UnsafeMutableRawBufferPointer? { nil }
    /// Nothing is ever pending.
    public func reap(wait: Bool, _ completed: (UInt32, Errno?) -> Void) {}
    /// Nothing is ever pending.
    public var pendingCount: Int { 0 }
    /// That of the smallest blocks there are.
    public var minimumBlockSize: Int { 512 }
    /// Zeros.
    public var zeroesWhenDeallocated: Bool { true }
    /// Nothing announces anything.
    public var completionDescriptor: FileDescriptor? { nil }
}
