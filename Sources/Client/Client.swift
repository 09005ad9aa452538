internal import CLinux
internal import Glibc
internal import Synchronization
public import SystemPackage
internal import VFIOUserSystem
internal import VFIOUserTransport
internal import VFIOUserWire

/// A client of a vfio-user device server: connects, negotiates, and sends every command of the protocol.
///
/// Calls block until the reply has come. While they wait, DMA_READ and DMA_WRITE of the server are answered
/// from the memory that is mapped (``map(_:at:rights:sharing:mode:)``). An object belongs to one thread at a
/// time.
///
/// Errors are those of `Errno`: an error reply is thrown as the errno it carries; `EPROTO` means that the
/// server broke the protocol, `ENOTCONN` that it has gone, `ETIMEDOUT` that it took longer than
/// ``ClientOptions/timeout``. Nothing a server sends ends the process, except that memory it shares may be
/// cut short (``MappedMemory``).
public final class Client {
    /// What was agreed with the server when it was connected to.
    public internal(set) var server: ServerDescription
    /// The most data of one message in either direction, in bytes.
    public internal(set) var maxTransfer: Int

    let channel: Channel
    let responder: DMAResponder
    var thread: DMAThread?

    /// Connects to a server's socket and negotiates.
    ///
    /// - Throws: the errno of `socket` and `connect`, `ENAMETOOLONG`; those of ``init(adopting:options:)``.
    public convenience init(connectingTo path: String, options: ClientOptions = ClientOptions()) throws(Errno)
    {
        // The string is NUL terminated and lives during the call.
        let number = try unsafe path.withCString { unsafe clx_unix_connect($0) }.orErrno()
        try self.init(adopting: FileDescriptor(rawValue: number), options: options)
    }

    /// Takes over a connected stream socket and negotiates. The socket is closed with the client, and on
    /// failure.
    ///
    /// - Throws: the errno the server refuses with (usually `EINVAL`); `EPROTO` an impossible reply;
    ///   `ENOTCONN` it closed the connection; `ETIMEDOUT`; `EINVAL` options that make no sense; `ENOMEM`.
    public init(adopting socket: FileDescriptor, options: ClientOptions = ClientOptions()) throws(Errno) {
        let socket = OwnedFD(adopting: socket.rawValue)
        guard options.maxTransfer > 0, options.maxTransfer <= Limits.maxTransferByteCount,
            (0...Limits.largestMaxFDs).contains(options.maxFDs)
        else { throw .invalidArgument }
        try Self.makeBlocking(socket.number)
        responder = DMAResponder(maxTransfer: options.maxTransfer)
        channel = try Channel(socket, responder)
        server = ServerDescription()
        maxTransfer = options.maxTransfer
        try setTimeout(options.timeout)
        if !options.skipsNegotiation { try negotiate(options) }
    }

    private static func makeBlocking(_ socket: CInt) throws(Errno) {
        let flags = try clx_fcntl(socket, F_GETFL, 0).orErrno()
        if flags & O_NONBLOCK != 0 { _ = clx_fcntl(socket, F_SETFL, flags & ~O_NONBLOCK) }
    }

    /// Changes how long to wait for the server to go on; see ``ClientOptions/timeout``.
    ///
    /// - Throws: the errno of `setsockopt`.
    public func setTimeout(_ timeout: Duration?) throws(Errno) {
        // No time at all would mean no limit to the socket.
        let microseconds = timeout.map { min(max(1, $0 / .microseconds(1)), 1e15) } ?? 0
        let parts = Int64(microseconds).quotientAndRemainder(dividingBy: 1_000_000)
        var limit = timeval(tv_sec: Int(parts.quotient), tv_usec: Int(parts.remainder))
        let size = socklen_t(MemoryLayout<timeval>.size)
        // The option's value is a whole, initialised timeval.
        guard unsafe setsockopt(channel.socket.number, SOL_SOCKET, SO_RCVTIMEO, &limit, size) == 0 else {
            throw Errno(rawValue: errno)
        }
        channel.timeout = timeout
        channel.companion?.timeout = timeout
    }

    /// The main socket, for an event loop: readable when the server sent something. Reading from it is up to
    /// the client.
    public var descriptor: FileDescriptor { FileDescriptor(rawValue: channel.socket.number) }

    /// DMA commands of the server that were answered so far, refused ones included.
    public var servedDMACount: Int { responder.served.load(ordering: .relaxed) }

    /// Ends the connection now; every call fails with `ENOTCONN` from then on.
    public func close() {
        stopServingDMA()
        channel.companion = nil
        channel.lose()
    }

    deinit { thread?.stop() }
}
