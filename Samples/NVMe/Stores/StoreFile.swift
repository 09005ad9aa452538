internal import CNVMeSystem
internal import Glibc
internal import SystemPackage

/// A file or block device that is open, through the page cache and, where that can be, past it.
///
/// It is locked: one that writes to it is alone.
struct StoreFile: ~Copyable {
    /// Holds the lock. An io_uring keeps what it uses for a while after its end; this it does not use.
    private let locked: CInt
    /// Through the page cache.
    let cached: CInt
    /// Past it (O_DIRECT); -1: not possible.
    let direct: CInt
    /// Bytes.
    let byteCount: UInt64
    let isBlockDevice: Bool

    /// - Throws: what `open` gives; `ENODEV` neither a file nor a block device; `EINVAL` empty; `EWOULDBLOCK` another
    ///   process has it locked; `EBUSY` a block device that is mounted or otherwise in use.
    init(path: String, isReadOnly: Bool, isDirect: Bool) throws(Errno) {
        var status = stat()
        // The call fills the structure, and reads the string to its NUL.
        guard unsafe stat(path, &status) == 0 else { throw Errno(rawValue: errno) }
        let kind = status.st_mode & S_IFMT
        guard kind == S_IFREG || kind == S_IFBLK else {
            throw kind == S_IFDIR ? .isDirectory : .operationNotSupportedByDevice
        }
        let access = (isReadOnly ? O_RDONLY : O_RDWR) | O_CLOEXEC
        let descriptor = unsafe open(path, access)
        guard descriptor >= 0 else { throw Errno(rawValue: errno) }
        let size: UInt64
        let reopened: CInt
        do throws(Errno) {
            size = try Self.lock(descriptor, isReadOnly: isReadOnly)
            reopened = try Self.reopen(descriptor, access, exclusively: kind == S_IFBLK && !isReadOnly)
        } catch {
            _ = close(descriptor)
            throw error
        }
        isBlockDevice = kind == S_IFBLK
        byteCount = size
        locked = descriptor
        cached = reopened
        // Of the numbers that are none an io_uring takes only -1.
        direct = isDirect ? max(-1, unsafe nvmesys_open_direct("/proc/self/fd/\(descriptor)", access)) : -1
    }

    /// Opens the very same file once more, whatever has become of its path.
    ///
    /// - Parameter exclusively: a block device that is to be written to: not while a file system is mounted from it.
    ///   The kernel makes zeros and holes of such a device by a descriptor that has it alone, or not reliably.
    private static func reopen(
        _ descriptor: CInt, _ access: CInt, exclusively: Bool
    ) throws(Errno) -> CInt {
        let path = "/proc/self/fd/\(descriptor)"
        guard exclusively else {
            let reopened = unsafe open(path, access)
            return reopened >= 0 ? reopened : descriptor
        }
        // What had it before, killed perhaps, gives it back a moment after its end.
        for _ in 0..<20 {
            let reopened = unsafe open(path, access | O_EXCL)
            if reopened >= 0 { return reopened }
            guard errno == EBUSY else { throw Errno(rawValue: errno) }
            usleep(50_000)
        }
        throw .resourceBusy
    }

    /// Locks a file, and tells its size.
    private static func lock(_ descriptor: CInt, isReadOnly: Bool) throws(Errno) -> UInt64 {
        // Two servers on one file would each believe in blocks that the other has overwritten.
        guard flock(descriptor, (isReadOnly ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0 else {
            throw Errno(rawValue: errno)
        }
        let end = lseek(descriptor, 0, SEEK_END)
        guard end >= 0 else { throw Errno(rawValue: errno) }
        guard end > 0 else { throw .invalidArgument }
        return UInt64(end)
    }

    deinit {
        if cached != locked { _ = close(cached) }
        if direct >= 0 { _ = close(direct) }
        _ = close(locked)
    }
}
