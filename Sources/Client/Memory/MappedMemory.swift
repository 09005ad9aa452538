internal import Glibc
public import SystemPackage

/// Memory of this process that others see too: part of a file, or memory that is only shared by messages.
///
/// It is unmapped when the last reference goes. Offsets are in bytes from its start. Single loads and stores
/// are for registers, doorbells and queues; bytes are copied in and out, never lent, since another process
/// may change them.
///
/// A file that shrinks under its mapping (only a file that its maker did not seal) ends the process with
/// SIGBUS.
///
/// Safety: `base` is mapped for `count` bytes as long as the object lives, and every access is checked
/// against that.
@safe public final class MappedMemory: @unchecked Sendable {
    @usableFromInline let base: UnsafeMutableRawPointer
    /// Bytes that can be accessed.
    public let count: Int
    /// Bytes that can be written: `count` or 0.
    @usableFromInline let writableCount: Int
    /// What to unmap: `base` may lie inside a page.
    private let mappingBase: UnsafeMutableRawPointer
    private let mappingCount: Int

    /// Maps part of a file, shared.
    ///
    /// - Parameters:
    ///   - offset: of the first byte in the file; need not be at a page boundary.
    ///   - count: bytes, at least 1.
    /// - Throws: `EINVAL` an empty range; `EOVERFLOW` one no file can have; `ENXIO` one beyond the end of a
    ///   regular file; the errno of `mmap`.
    public init(
        sharing file: FileDescriptor, offset: UInt64, count: Int, isWritable: Bool = true
    ) throws(Errno) {
        let (start, end) = try Self.range(offset: offset, count: count)
        try Self.check(file, covers: end)
        let slack = start & (Int(sysconf(CInt(_SC_PAGESIZE))) - 1)
        let protection = isWritable ? PROT_READ | PROT_WRITE : PROT_READ
        mappingCount = count + slack
        unsafe mappingBase = try Self.map(
            mappingCount, protection, MAP_SHARED, file.rawValue, at: start - slack)
        unsafe base = mappingBase + slack
        self.count = count
        writableCount = isWritable ? count : 0
    }

    /// Zeroed memory of this process alone, which others can reach by messages only.
    ///
    /// - Throws: `EINVAL` for a count below 1; the errno of `mmap`.
    public init(privateCount count: Int) throws(Errno) {
        guard count > 0 else { throw .invalidArgument }
        mappingCount = count
        unsafe mappingBase = try Self.map(
            count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, at: 0)
        unsafe base = unsafe mappingBase
        self.count = count
        writableCount = count
    }

    deinit { unsafe munmap(mappingBase, mappingCount) }

    private static func range(offset: UInt64, count: Int) throws(Errno) -> (start: Int, end: Int) {
        guard count > 0 else { throw .invalidArgument }
        guard let start = Int(exactly: offset) else { throw .overflow }
        let (end, overflow) = start.addingReportingOverflow(count)
        // Leaves room for the slack in front.
        guard !overflow, count <= Int.max / 2 else { throw .overflow }
        return (start, end)
    }

    /// Refuses what would end with SIGBUS at the first access. Only a regular file has a size.
    private static func check(_ file: FileDescriptor, covers end: Int) throws(Errno) {
        var status = stat()
        guard unsafe fstat(file.rawValue, &status) == 0 else { throw Errno(rawValue: errno) }
        guard status.st_mode & S_IFMT == S_IFREG else { return }
        guard end <= Int(status.st_size) else { throw .noSuchAddressOrDevice }
    }

    private static func map(
        _ count: Int, _ protection: CInt, _ flags: CInt, _ file: CInt, at offset: Int
    ) throws(Errno) -> UnsafeMutableRawPointer {
        // The kernel picks the place, so nothing that is mapped already can be replaced.
        guard let base = unsafe mmap(nil, count, protection, flags, file, offset), unsafe base != MAP_FAILED
        else {
            throw Errno(rawValue: errno)
        }
        return unsafe base
    }
}
