internal import CLinux
internal import Glibc
public import SystemPackage
internal import VFIOUserSystem

/// Memory for the device's DMA: made here, mapped into this process, to be handed to a server with
/// ``Client/map(_:at:rights:sharing:mode:)``.
///
/// A client that has it mapped keeps the memory itself alive, so dropping this value early is harmless.
public struct DMAMemory: ~Copyable, Sendable {
    /// The memory in this process.
    public let memory: MappedMemory
    /// The file behind it; nil for memory that a server can only reach by messages.
    public let file: OwnedFile?
    /// Where the memory begins in the file, bytes.
    public let fileOffset: UInt64

    /// Size in bytes.
    public var count: Int { memory.count }

    /// Makes zeroed memory behind a file of its own (memfd), sealed so that nobody can change its size.
    ///
    /// - Parameters:
    ///   - count: bytes, at least 1; a multiple of 2 MiB for huge pages.
    ///   - hugePages: 2 MiB pages, of which the system must have enough.
    /// - Throws: `EINVAL`, `ENOMEM`, the errno of `memfd_create`, `ftruncate`, `mmap`.
    public init(count: Int, hugePages: Bool = false) throws(Errno) {
        guard count > 0 else { throw .invalidArgument }
        let flags = MemoryFile.allowSealing | (hugePages ? MemoryFile.hugePages2MiB : 0)
        let number = try unsafe clx_memfd("vfio-user-dma", flags).orErrno()
        let file = OwnedFile(OwnedFD(adopting: number))
        guard ftruncate(number, count) == 0 else { throw Errno(rawValue: errno) }
        // The server gets the descriptor: it must not be able to pull pages away from this process.
        _ = try clx_fcntl(number, MemoryFile.addSeals, MemoryFile.fixedSize).orErrno()
        memory = try MappedMemory(sharing: file.descriptor, offset: 0, count: count)
        self.file = file
        fileOffset = 0
    }

    /// Maps part of a file that exists; the descriptor is duplicated.
    ///
    /// - Throws: as ``MappedMemory/init(sharing:offset:count:isWritable:)``.
    public init(sharing file: FileDescriptor, offset: UInt64 = 0, count: Int) throws(Errno) {
        let copy = try OwnedFile(duplicating: file)
        memory = try MappedMemory(sharing: copy.descriptor, offset: offset, count: count)
        self.file = copy
        fileOffset = offset
    }

    /// Makes zeroed memory without a file: the server has to ask for each access.
    ///
    /// - Throws: `EINVAL`, `ENOMEM`.
    public init(withoutFile count: Int) throws(Errno) {
        memory = try MappedMemory(privateCount: count)
        file = nil
        fileOffset = 0
    }
}

extension DMAMemory {
    /// A part of the memory, and how a server gets at it.
    struct Part {
        let memory: MappedMemory
        let range: Range<Int>
        /// Where it is in this process: for the server to name it by.
        var address: UInt64 { unsafe UInt64(UInt(bitPattern: memory.base + range.lowerBound)) }
        /// nil: by messages.
        let file: OwnedFile?
        /// Where the part begins in the file; 0 without one.
        let fileOffset: UInt64
    }

    /// - Throws: `EINVAL` a range that is empty or not inside the memory.
    func part(_ range: Range<Int>?, _ sharing: Client.DMASharing) throws(Errno) -> Part {
        let range = range ?? 0..<memory.count
        guard !range.isEmpty, range.lowerBound >= 0, range.upperBound <= memory.count else {
            throw .invalidArgument
        }
        let file = sharing == .file ? file : nil
        return Part(
            memory: memory, range: range, file: file,
            fileOffset: file == nil ? 0 : fileOffset + UInt64(range.lowerBound))
    }
}

extension DMATable.Entry {
    /// - Throws: `EINVAL` addresses beyond 2^64.
    init(_ part: DMAMemory.Part, at iova: UInt64, _ rights: Client.DMARights) throws(Errno) {
        let (last, overflow) = iova.addingReportingOverflow(UInt64(part.range.count - 1))
        guard !overflow else { throw .invalidArgument }
        self.init(
            first: iova, last: last, rights: rights, memory: part.memory, offset: part.range.lowerBound)
    }
}

/// Numbers of Linux's memfd and seal interfaces whose macros are not visible to Swift.
private enum MemoryFile {
    /// MFD_ALLOW_SEALING
    static let allowSealing: UInt32 = 0x2
    /// MFD_HUGETLB | MFD_HUGE_2MB
    static let hugePages2MiB: UInt32 = 0x4 | 21 << 26
    /// F_ADD_SEALS
    static let addSeals: CInt = 1033
    /// F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW
    static let fixedSize: CInt = 0x1 | 0x2 | 0x4
}

// The accesses of ``MappedMemory``, offsets from the start of this memory.
extension DMAMemory {
    /// Loads an integer. Throws `EINVAL` outside the memory or not aligned; so do all of these.
    @inlinable @inline(__always)
    public borrowing func load<Value: MappedInteger>(
        at offset: Int, as type: Value.Type = Value.self
    ) throws(Errno) -> Value {
        try memory.load(at: offset)
    }

    /// Loads an integer before anything that follows in the program.
    @inlinable @inline(__always)
    public borrowing func loadAcquiring<Value: MappedInteger>(
        at offset: Int, as type: Value.Type = Value.self
    ) throws(Errno) -> Value {
        try memory.loadAcquiring(at: offset)
    }

    /// Stores an integer.
    @inlinable @inline(__always)
    public borrowing func store<Value: MappedInteger>(_ value: Value, at offset: Int) throws(Errno) {
        try memory.store(value, at: offset)
    }

    /// Stores an integer after anything that precedes in the program.
    @inlinable @inline(__always)
    public borrowing func storeReleasing<Value: MappedInteger>(_ value: Value, at offset: Int) throws(Errno) {
        try memory.storeReleasing(value, at: offset)
    }

    /// Copies bytes out.
    public borrowing func read(at offset: Int, count: Int) throws(Errno) -> [UInt8] {
        try memory.read(at: offset, count: count)
    }

    /// Copies bytes out.
    public borrowing func read(at offset: Int, into target: inout MutableSpan<UInt8>) throws(Errno) {
        try memory.read(at: offset, into: &target)
    }

    /// Copies bytes in.
    public borrowing func write(_ bytes: [UInt8], at offset: Int) throws(Errno) {
        try memory.write(bytes.span, at: offset)
    }

    /// Copies bytes in.
    public borrowing func write(_ bytes: Span<UInt8>, at offset: Int) throws(Errno) {
        try memory.write(bytes, at: offset)
    }
}
