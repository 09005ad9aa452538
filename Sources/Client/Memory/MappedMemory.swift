internal import Glibc
public import SystemPackage
internal import VFIOUserSystem

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
    /// The pages `base` lies in.
    private let mapping: MemoryMapping

    /// Maps part of a file, shared.
    ///
    /// - Parameters:
    ///   - offset: of the first byte in the file; need not be at a page boundary.
    ///   - count: bytes, at least 1.
    /// - Throws: `EINVAL` an empty range; `EOVERFLOW` one no file can have; `ENXIO` one beyond the end of a
    ///   file whose size can be known; the errno of `mmap`.
    public convenience init(
        sharing file: FileDescriptor, offset: UInt64, count: Int, isWritable: Bool = true
    ) throws(Errno) {
        guard count > 0 else { throw .invalidArgument }
        let (end, overflow) = offset.addingReportingOverflow(UInt64(count))
        guard !overflow, end <= UInt64(Int.max) else { throw .overflow }
        // Beyond the end of its file memory cannot be touched.
        if let size = try FileStatus(of: file).size, end > size { throw .noSuchAddressOrDevice }
        let slack = offset & (systemPageSize - 1)
        let protection = isWritable ? PROT_READ | PROT_WRITE : PROT_READ
        let mapping = try MemoryMapping(
            sharing: file, offset: offset - slack, length: UInt64(count) + slack, protection: protection)
        try self.init(mapping, skipping: Int(slack), count: count, isWritable: isWritable)
    }

    /// Zeroed memory of this process alone, which others can reach by messages only.
    ///
    /// - Throws: `EINVAL` for a count below 1; the errno of `mmap`.
    public convenience init(privateCount count: Int) throws(Errno) {
        guard count > 0 else { throw .invalidArgument }
        try self.init(MemoryMapping(reserving: count), skipping: 0, count: count, isWritable: true)
    }

    private init(
        _ mapping: consuming MemoryMapping, skipping slack: Int, count: Int, isWritable: Bool
    ) throws(Errno) {
        // Only the empty mapping has none.
        guard let start = unsafe mapping.base else { throw .noMemory }
        unsafe base = start + slack
        self.count = count
        writableCount = isWritable ? count : 0
        self.mapping = mapping
    }
}
