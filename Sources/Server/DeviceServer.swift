internal import CLinux
public import SystemPackage
internal import VFIOUserAddressSpace
internal import VFIOUserPCI
internal import VFIOUserSystem
internal import VFIOUserTransport
internal import VFIOUserWire

/// A PCI device served to one client at a time over a UNIX socket.
///
/// Make one, declare regions, interrupts, capabilities and DMA, ``realize()`` it, then ``attach()`` a client and
/// ``run()`` (or ``poll()``) until that throws `ENOTCONN`; then attach the next. ``serve()`` does all that.
///
/// A server is used from one thread at a time. Different servers are independent. Address translation and access to
/// client memory may happen on other threads while no request that changes client memory is carried out, which is
/// what quiescing is for (``Device/quiesce(on:)``).
public final class DeviceServer {
    // MARK: Set by the device's author

    /// The device. The server keeps it alive.
    public let device: any Device
    /// How long the server waits in ``WaitingMode/polling`` for a client that stops in the middle of something,
    /// milliseconds, before it gives the client up.
    public static let stallLimit: Int32 = 5000
    /// Receives log messages up to ``logLevel``.
    public var logHandler: ((LogLevel, String) -> Void)? {
        get { logSink }
        set { logSink = newValue }
    }
    /// The least severe level that is logged.
    public var logLevel: LogLevel {
        get { logThreshold }
        set { logThreshold = newValue }
    }

    // What every request looks at is stored internally: only then can the compiler see that no two uses overlap,
    // and leave out the check at run time.
    var logSink: ((LogLevel, String) -> Void)?
    var logThreshold = LogLevel.error

    /// Whether the client's accesses to regions, its questions and its settings of interrupts are carried out while an
    /// answer to DMA_READ or DMA_WRITE is awaited, instead of being kept until it has come. `false` unless set.
    ///
    /// For clients that answer nothing while they wait for a reply themselves: QEMU, whose processors hold a lock during
    /// an access to a BAR that the answers need. Without this the two wait for each other until one gives up.
    ///
    /// The device must be ready for it: ``Device/read(_:at:into:on:)``, ``Device/write(_:at:from:on:)`` and
    /// ``Device/interruptsMasked(_:vectors:masked:on:)`` may be called in the middle of its access to client memory, if
    /// that was not begun in a method of the device. What they do to memory that is reached by messages fails with
    /// `EBUSY`. Without effect on a connection with a second socket.
    ///
    /// A request that needs the device quiesced (DMA_MAP, DMA_UNMAP, a reset), or another that cannot be carried out
    /// then, has to wait until the device is done, as have all behind it. If the answer does not come soon after it
    /// (20 ms), the access is given up and fails with `ECANCELED`, and so do further ones until ``poll()`` has carried
    /// that request out (``hasRequests``). The device tries again afterwards. What was to be written may have been, or may
    /// be later, but before whatever is written after that; also if the request was a reset, so that nothing is written
    /// again. A client that leaves 64 such commands unanswered is waited for as without this. On pipes nothing is given up.
    public var answersWhileWaiting = false

    /// The most bytes of client memory that one DMA_READ asks for, at least 1; what the client takes, if that is less.
    /// No limit unless set.
    ///
    /// For clients that send only the beginning of a reply which their socket does not take at once: QEMU 11.1. How much
    /// that takes depends on what waits in the socket already. Replies of 32 KiB are taken as a whole or not at all, with
    /// socket buffers of Linux's usual size (208 KiB).
    public var largestDMARead = Int.max

    /// Whether the server's calls wait.
    public let waitingMode: WaitingMode
    let endpoint: Endpoint
    var isRealized = false
    let regions = RegionTable()
    var interruptCounts: [UInt32] = [0, 0, 0, 1, 1]
    var configuration: ConfigSpace?
    /// Whether the device uses client memory.
    var doesDMA = false
    var memorySettings = MemorySettings()
    /// The device, if it can be migrated.
    var migratable: (any MigratableDevice)?
    /// What the device does for migration. Neither a reset nor another client changes it.
    public var migrationState: MigrationState { currentMigrationState }
    var currentMigrationState = MigrationState.running

    // MARK: The connection

    let listener: Listener
    /// The client, once negotiated.
    var connection: Connection?
    /// Its descriptors, at hand for every request; -1 without a client.
    var input: CInt = -1
    var output: CInt = -1
    /// A client that has connected and not sent all of its VERSION yet.
    var candidate: OwnedFD?
    let inbound: InboundMessages
    let outbound: OutboundMessages
    let interrupts = InterruptTable(count: 0)
    var spaces: IOASTable
    /// Whether memory that has gone may be mapped still; the table knows, but it is looked at with every request.
    var hasRetiredMemory = false
    /// Polls in a row that found nothing: only then is there neither a partial message nor anything pending.
    var emptyPolls = 0
    /// Above 0 while polls seem to come all the time, not only when there is something.
    var pollingTrust = 0
    /// Counts connections made and lost, so that code that called out notices that its connection went meanwhile.
    var connectionSerial: UInt64 = 0

    // MARK: Requests

    /// Whether a request is carried out while an answer of the client's is awaited.
    var isAnsweringWhileWaiting = false

    /// What waits for the device to quiesce.
    enum PendingWork { case none, request, disconnect }
    var pending = PendingWork.none
    /// Whether the device is in the middle of a call that ``telling(_:)`` makes.
    var isTellingDevice = false
    /// Whether the server is in the middle of calling the device or the log handler, so that the caller is one of these.
    package var isCallingOut: Bool { isProcessing }
    /// Whether a request is being carried out, or the device or the log handler is called for another reason.
    var isProcessing = false
    /// Whether everything of a client is being removed.
    var isRemovingClient = false
    /// Whether the device may be regarded as quiesced until the present call returns.
    var isQuiesced = false
    /// The error that the last failed request of the last call got; `nil` if none failed.
    public var lastRequestError: Errno? { requestError }
    var requestError: Errno?
    /// Descriptors to send with the reply being made. They belong to the device's author.
    var replyDescriptors: [CInt] = [] {
        didSet { hasReplyDescriptors = !replyDescriptors.isEmpty }
    }
    private(set) var hasReplyDescriptors = false
    /// The rest of a reply that is longer than the memory for it.
    var replyTail: DirtyReport?
    var nextCommandID: UInt16 = 1
    /// Commands whose answers are not awaited any more, and ignored when they come.
    var abandonedCommands: [UInt16] = []

    /// Makes a server; clients can connect from now on, though nothing is answered before ``attach()``.
    ///
    /// - Throws: `EADDRINUSE`, `ENOENT`, `ENAMETOOLONG` and others of `bind`; `ENOMEM`.
    public init(_ device: any Device, at endpoint: Endpoint, waiting: WaitingMode = .blocking) throws(Errno) {
        self.device = device
        self.endpoint = endpoint
        waitingMode = waiting
        listener = try Listener(endpoint, isNonblocking: waiting == .polling)
        inbound = try InboundMessages(isSocket: listener.isSocket)
        outbound = try OutboundMessages(isSocket: listener.isSocket)
        if waiting == .polling { outbound.stallLimit = Int(Self.stallLimit) }
        spaces = try IOASTable()
    }

    /// Finishes the set-up: gives the device its configuration space if ``initializePCI(_:)`` was not called, and fills in
    /// what follows from the regions and interrupts. A second call does nothing.
    ///
    /// - Throws: `EINVAL` ``IOASPolicy/require`` without ``enableDMA(maxRegions:)``; `ENOMEM`, also for more than 2^20
    ///   interrupt vectors of a kind.
    public func realize() throws(Errno) {
        guard !isRealized else { return }
        try checkIOASPolicy()
        let vectors = Int(interruptCounts.max() ?? 0)
        guard vectors <= InterruptTable.largestCount else { throw .noMemory }
        let configurationSize = regions[Int(RegionIndex.configuration.rawValue)].size
        if configuration == nil {
            try makeConfigurationSpace(size: Int(clamping: configurationSize))
        }
        interrupts.reset(count: vectors)
        realizeConfigurationSpace()
        isRealized = true
    }

    /// Takes everything down: the device is told that its client memory goes and that it is reset; sockets are
    /// closed and the socket's path is removed. The device must be quiesced already. Further calls do nothing.
    public func close() {
        guard !isClosed else { return }
        isClosed = true
        pending = .none
        dropClient()
        listener.close()
    }
    private var isClosed = false
}
