package import SystemPackage
internal import VFIOUserSystem

/// The memory behind a mapping that is not made yet: whatever goes wrong from here on, it cleans up after
/// itself.
@safe
package struct MemoryBacking: ~Copyable {
    let mode: AccessMode
    /// Bytes, not 0.
    let length: UInt64
    /// Where in the file the first byte is.
    let offset: UInt64
    let rights: AccessRights
    let pageSize: UInt64
    /// Of the descriptor; nil without one.
    let status: FileStatus?
    let care: AccessCare
    var descriptor: OwnedFD?
    /// Empty unless the mode is `mapped`.
    var memory: MemoryMapping
    /// Bytes of `memory` before the first byte.
    let slack: Int

    /// Memory that is reached by messages. Throws `EINVAL` for a length of 0.
    package init(byMessages length: UInt64, offset: UInt64 = 0, _ rights: AccessRights) throws(Errno) {
        if length == 0 { throw .invalidArgument }
        mode = .message
        self.length = length
        self.offset = offset
        self.rights = rights
        pageSize = systemPageSize
        status = nil
        care = []
        descriptor = nil
        memory = MemoryMapping()
        slack = 0
    }

    /// Part of a file, reached by mmap or by file I/O.
    ///
    /// The mmap has exactly the client's rights and covers whole blocks of the file: neither offset nor
    /// length need be aligned. It is made with the client's own descriptor, whose rights decide whether it
    /// may be. It is made where the part belongs among those of the file in `files`. Throws `EINVAL` for a
    /// length of 0, `EOVERFLOW` for an offset no file can have, mmap's errno.
    init(
        _ descriptor: consuming OwnedFD, _ status: FileStatus, mode: AccessMode, offset: UInt64,
        length: UInt64, _ rights: AccessRights, _ policy: FilePolicy, among files: FileTable
    ) throws(Errno) {
        if length == 0 { throw .invalidArgument }
        let pageSize = MemoryBacking.pageSize(status)
        if mode == .mapped {
            let start = offset & ~(pageSize - 1)
            let (sum, wraps) = (offset - start).addingReportingOverflow(length)
            let (padded, overflows) = sum.addingReportingOverflow(pageSize - 1)
            if wraps || overflows { throw .overflow }
            let whole = padded & ~(pageSize - 1)
            memory = try files.map(
                descriptor, status, block: pageSize, offset: start, length: whole, rights)
            // Below the page size.
            slack = Int(truncatingIfNeeded: offset - start)
        } else {
            memory = MemoryMapping()
            slack = 0
        }
        self.mode = mode
        self.length = length
        self.offset = offset
        self.rights = rights
        self.pageSize = pageSize
        self.status = status
        care = mode == .mapped ? policy.care(descriptor, status) : []
        self.descriptor = consume descriptor
    }

    /// Bytes, not 0.
    package var byteCount: UInt64 { length }
    /// Where in the file the first byte is.
    package var fileOffset: UInt64 { offset }
    /// The descriptor's number; -1 without.
    package var descriptorNumber: CInt {
        switch descriptor {
        case .some(let descriptor): descriptor.number
        case .none: -1
        }
    }

    /// The first byte in this process; nil unless the mode is `mapped`.
    @unsafe
    package var address: UnsafeMutableRawPointer? {
        // Inside the mmap, which begins with the slack.
        unsafe memory.base.map { unsafe $0 + slack }
    }

    /// What the file is mapped in units of. The file system's word for it is the client's if it serves the
    /// file system: only powers of two are believed.
    private static func pageSize(_ status: FileStatus) -> UInt64 {
        let blocks = status.blockSize
        return blocks & (blocks &- 1) == 0 ? max(systemPageSize, blocks) : systemPageSize
    }
}
