internal import CNVMeSystem
internal import Glibc
public import NVMeController
public import SystemPackage

/// A store in a file or block device.
///
/// Requests whose memory, place and length are aligned pass the page cache by (O_DIRECT), where the file system
/// can; the others go through it. A flush is fdatasync.
@safe
public final class FileStore: BackingStore {
    private let file: CInt
    /// The same file opened with O_DIRECT; -1: not possible.
    private let direct: CInt
    /// Whether it cannot be written to.
    public let isReadOnly: Bool
    /// Bytes.
    public let byteCount: UInt64
    /// Whether what is written may be lost until a flush.
    public var hasVolatileCache: Bool { !isReadOnly }

    /// What O_DIRECT wants of addresses, offsets and lengths; every device Linux knows is content with it.
    private static let alignment = 4096

    /// Opens a file.
    ///
    /// - Throws: what `open` and `lseek` give; `EINVAL` an empty file; `EWOULDBLOCK` another process writes to it.
    public init(path: String, isReadOnly: Bool = false, isDirect: Bool = true) throws(Errno) {
        let flags = (isReadOnly ? O_RDONLY : O_RDWR) | O_CLOEXEC
        file = unsafe open(path, flags)
        guard file >= 0 else {
            direct = -1
            self.isReadOnly = isReadOnly
            byteCount = 0
            throw Errno(rawValue: errno)
        }
        direct = isDirect ? unsafe nvmesys_open_direct(path, flags) : -1
        self.isReadOnly = isReadOnly
        let size = lseek(file, 0, SEEK_END)
        byteCount = UInt64(clamping: size)
        guard size >= 0 else { throw Errno(rawValue: errno) }
        guard size > 0 else { throw .invalidArgument }
        // Two servers on one file would each believe in blocks that the other has overwritten.
        guard isReadOnly || flock(file, LOCK_EX | LOCK_NB) == 0 else { throw Errno(rawValue: errno) }
    }

    deinit {
        if file >= 0 { _ = close(file) }
        if direct >= 0 { _ = close(direct) }
    }

    /// Carries out a request, at once.
    public func start(_ request: StoreRequest) -> StoreAnswer {
        do throws(Errno) {
            guard let offset = off_t(exactly: request.offset), let count = off_t(exactly: request.byteCount)
            else { throw .invalidArgument }
            switch request.operation {
            case .read: try unsafe transfer(request, at: offset, preadv)
            case .write(let isDurable):
                try unsafe transfer(request, at: offset, pwritev)
                if isDurable { try flush() }
            case .flush: if !isReadOnly { try flush() }
            case .writeZeroes(let mayDeallocate): try clear(offset, count, mayDeallocate: mayDeallocate)
            case .deallocate: try clear(offset, count, mayDeallocate: true)
            }
            return .done
        } catch {
            return .failed(error)
        }
    }

    private func flush() throws(Errno) {
        guard fdatasync(file) == 0 else { throw Errno(rawValue: errno) }
    }

    /// Reads or writes all vectors, however many calls that takes.
    private func transfer(
        _ request: StoreRequest, at start: off_t,
        _ call: (CInt, UnsafePointer<iovec>?, CInt, off_t) -> Int
    ) throws(Errno) {
        var vectors = unsafe request.vectors
        var offset = start
        var descriptor = unsafe direct >= 0 && Self.isAligned(vectors, start) ? direct : file
        while !vectors.isEmpty {
            let limit = min(vectors.count, 1024)
            let moved = unsafe call(descriptor, vectors.baseAddress, CInt(limit), offset)
            if moved < 0 {
                let error = errno
                if error == EINTR { continue }
                // A file system may be stricter than it said.
                if error == EINVAL, descriptor != file {
                    descriptor = file
                    continue
                }
                throw Errno(rawValue: error)
            }
            // The file became shorter.
            guard moved > 0 else { throw .ioError }
            offset += off_t(moved)
            unsafe Self.advance(&vectors, by: moved)
        }
    }

    private static func isAligned(_ vectors: UnsafeMutableBufferPointer<iovec>, _ offset: off_t) -> Bool {
        var bits = Int(truncatingIfNeeded: offset)
        for index in 0..<vectors.count {
            let vector = unsafe vectors[index]
            bits |= unsafe Int(bitPattern: vector.iov_base) | Int(vector.iov_len)
        }
        return bits & (alignment - 1) == 0
    }

    /// Drops what has been moved from the front of the vectors, which are the request's own.
    private static func advance(_ vectors: inout UnsafeMutableBufferPointer<iovec>, by count: Int) {
        var left = count
        var index = 0
        while index < vectors.count, unsafe left >= Int(vectors[index].iov_len) {
            left -= unsafe Int(vectors[index].iov_len)
            index += 1
        }
        unsafe vectors = UnsafeMutableBufferPointer(rebasing: vectors[index...])
        if left > 0, !vectors.isEmpty {
            unsafe vectors[0].iov_base = unsafe vectors[0].iov_base.map { unsafe $0 + left }
            unsafe vectors[0].iov_len -= left
        }
    }

    /// Makes zeros of a range: by the file system, or where it cannot by writing them.
    private func clear(_ offset: off_t, _ count: off_t, mayDeallocate: Bool) throws(Errno) {
        let result =
            mayDeallocate
            ? nvmesys_punch_hole(file, Int64(offset), Int64(count))
            : nvmesys_zero_range(file, Int64(offset), Int64(count))
        if result == 0 { return }
        guard [EOPNOTSUPP, ENOSYS, ENODEV].contains(-result) else { throw Errno(rawValue: -result) }
        let zeros = [UInt8](repeating: 0, count: Int(min(count, 1 << 20)))
        var done: off_t = 0
        while done < count {
            let chunk = min(Int(count - done), zeros.count)
            let written = unsafe pwrite(file, zeros, chunk, offset + done)
            if written < 0, errno == EINTR { continue }
            guard written > 0 else { throw Errno(rawValue: written < 0 ? errno : EIO) }
            done += off_t(written)
        }
    }
}
