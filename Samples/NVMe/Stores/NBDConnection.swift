internal import CLibnbd
internal import SystemPackage

/// Why there is no connection to an NBD server.
public struct NBDFailure: Error, CustomStringConvertible {
    /// In libnbd's words.
    public let description: String
}

/// What a server can, and which requests it takes.
struct NBDAbilities {
    var byteCount: UInt64 = 0
    var isReadOnly = true
    var canFlush = false
    var canWriteDurably = false
    var canTrim = false
    var canZero = false
    /// Offsets and lengths are multiples of it; bytes.
    var minimum: UInt64 = 1
    /// Most bytes that one request moves.
    var maximum: UInt64 = 32 << 20
}

/// A connection to an NBD server, by libnbd.
///
/// Unsafe inside: the handle lives as long as its owner. Memory that requests name stays in place until the last
/// call-back of each, which is made at the latest when the handle is closed.
@safe
struct NBDConnection: ~Copyable {
    private let handle: OpaquePointer

    /// Begins to connect.
    init(_ uri: String) throws(NBDFailure) {
        guard let handle = unsafe nbd_create() else { throw NBDConnection.failure() }
        // What is read is the client's memory, and an error says that it was not filled.
        _ = unsafe nbd_set_pread_initialize(handle, false)
        guard unsafe nbd_aio_connect_uri(handle, uri) == 0 else {
            let failure = NBDConnection.failure()
            unsafe nbd_close(handle)
            throw failure
        }
        unsafe self.handle = unsafe handle
    }

    deinit {
        // The server is told, if it listens; nobody waits for it.
        if isReady { _ = unsafe nbd_aio_disconnect(handle, 0) }
        unsafe nbd_close(handle)
    }

    /// What libnbd says of this thread's last error.
    static func failure() -> NBDFailure {
        // A string of the library's, copied at once.
        NBDFailure(description: unsafe nbd_get_error().map { unsafe String(cString: $0) } ?? "unknown error")
    }

    var isReady: Bool {
        unsafe nbd_aio_is_ready(handle) == 1 || nbd_aio_is_processing(handle) == 1
    }
    /// It will not be ready again.
    var isLost: Bool { unsafe nbd_aio_is_dead(handle) == 1 || nbd_aio_is_closed(handle) == 1 }
    var descriptor: CInt { unsafe nbd_aio_get_fd(handle) }
    /// What to wait for.
    var direction: (reads: Bool, writes: Bool) {
        let direction = unsafe CInt(nbd_aio_get_direction(handle))
        return (direction & LIBNBD_AIO_DIRECTION_READ != 0, direction & LIBNBD_AIO_DIRECTION_WRITE != 0)
    }

    /// Goes on with what the socket has and takes, after waiting up to so many milliseconds for it.
    ///
    /// - Returns: whether there was anything to go on with.
    func advance(timeout: Int) -> Bool { unsafe nbd_poll(handle, CInt(clamping: timeout)) > 0 }

    /// What the server can; to be asked when the connection is ready.
    func abilities() throws(NBDFailure) -> NBDAbilities {
        var abilities = NBDAbilities()
        let size = unsafe nbd_get_size(handle)
        guard size >= 0 else { throw NBDConnection.failure() }
        abilities.byteCount = UInt64(size)
        abilities.isReadOnly = unsafe nbd_is_read_only(handle) != 0
        abilities.canFlush = unsafe nbd_can_flush(handle) == 1
        abilities.canWriteDurably = unsafe nbd_can_fua(handle) == 1
        abilities.canTrim = unsafe nbd_can_trim(handle) == 1
        abilities.canZero = unsafe nbd_can_zero(handle) == 1
        let minimum = unsafe nbd_get_block_size(handle, LIBNBD_SIZE_MINIMUM)
        if minimum > 0 { abilities.minimum = UInt64(minimum) }
        let maximum = unsafe nbd_get_block_size(handle, LIBNBD_SIZE_MAXIMUM)
        if maximum > 0 { abilities.maximum = min(abilities.maximum, UInt64(maximum)) }
        return abilities
    }

    // MARK: Requests. Each ends with a call-back, also if it is refused, which is `false`.

    func read(
        _ memory: UnsafeMutableRawPointer, _ count: Int, at offset: UInt64, _ done: nbd_completion_callback
    ) -> Bool {
        unsafe nbd_aio_pread(handle, memory, count, offset, done, 0) >= 0
    }

    func write(
        _ memory: UnsafeRawPointer, _ count: Int, at offset: UInt64, isDurable: Bool,
        _ done: nbd_completion_callback
    ) -> Bool {
        let flags = isDurable ? UInt32(LIBNBD_CMD_FLAG_FUA) : 0
        return unsafe nbd_aio_pwrite(handle, memory, count, offset, done, flags) >= 0
    }

    func zero(
        _ count: UInt64, at offset: UInt64, mayDeallocate: Bool, _ done: nbd_completion_callback
    ) -> Bool {
        let flags = mayDeallocate ? 0 : UInt32(LIBNBD_CMD_FLAG_NO_HOLE)
        return unsafe nbd_aio_zero(handle, count, offset, done, flags) >= 0
    }

    func trim(_ count: UInt64, at offset: UInt64, _ done: nbd_completion_callback) -> Bool {
        unsafe nbd_aio_trim(handle, count, offset, done, 0) >= 0
    }

    func flush(_ done: nbd_completion_callback) -> Bool { unsafe nbd_aio_flush(handle, done, 0) >= 0 }
}
