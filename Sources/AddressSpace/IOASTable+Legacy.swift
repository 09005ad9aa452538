package import SystemPackage
package import VFIOUserSystem

/// A DMA_MAP request, as on the wire (vfio-user protocol, DMA_MAP).
package struct LegacyMap: Sendable {
    /// 1 READ, 2 WRITE, 4 MMAP, 8 FILE_IO.
    package var flags: UInt32
    /// Into the file.
    package var offset: UInt64
    package var address: UInt64
    package var size: UInt64

    package init(flags: UInt32, offset: UInt64, address: UInt64, size: UInt64) {
        self.flags = flags
        self.offset = offset
        self.address = address
        self.size = size
    }

    static let mmap: UInt32 = 4
    static let fileIO: UInt32 = 8
    static let known: UInt32 = 15
    /// 8 TiB, the most a mapping may have.
    static let largest: UInt64 = 1 << 43

    var rights: AccessRights { AccessRights(rawValue: UInt8(truncatingIfNeeded: flags) & 3) }
}

extension IOASTable {
    /// What a DMA_MAP did. Either way the device's register callback is due.
    package enum Mapped {
        /// The mapping is new.
        case created(Mapping)
        /// The very same mapping was there already; nothing has changed.
        case existing(Mapping)

        package var mapping: Mapping {
            switch self {
            case .created(let mapping), .existing(let mapping): mapping
            }
        }
    }

    /// Maps into the compatibility IOAS (vfio-user protocol, DMA_MAP).
    ///
    /// Throws, in this order: `ENODEV` without a compatibility IOAS; `EINVAL` for flags that do not fit
    /// each other or the descriptor; `ENOSPC` above 8 TiB; `EINVAL` for no bytes, a range that wraps
    /// round, overlaps another mapping without being the same, is one too many, or is smaller than a page
    /// of dirty logging and has a descriptor; fstat's errno; `EPERM` for a file refused by the file
    /// policy; `EINVAL` if there is such a policy and the file is known to be too short; mmap's errno.
    package func map(_ request: LegacyMap, _ descriptor: consuming OwnedFD?) throws(Errno) -> Mapped {
        guard let id = compatibilityID else { throw .operationNotSupportedByDevice }
        let space = try space(id)
        let mode = try request.mode(hasDescriptor: descriptor != nil)
        if request.size > LegacyMap.largest { throw .noSpace }
        if request.size == 0 { throw .invalidArgument }
        let (last, wraps) = request.address.addingReportingOverflow(request.size - 1)
        if wraps { throw .invalidArgument }

        let status = try FileStatus.of(descriptor)
        if let old = space.mapping(exactly: request.address, request.size) {
            guard request.isSame(as: old, status) else { throw .invalidArgument }
            return .existing(old)
        }
        if space.overlaps(request.address, last) || count >= limit { throw .invalidArgument }
        if status != nil, request.size < loggingPageSize { throw .invalidArgument }

        settle()
        let backing: MemoryBacking
        if let descriptor, let status {
            let policy = filePolicy
            try policy.check(descriptor, status)
            // A wrap is for the mapping to refuse.
            let (end, wraps) = request.offset.addingReportingOverflow(request.size - 1)
            if policy.asksAnything, let size = status.size, !wraps, end >= size { throw .invalidArgument }
            backing = try MemoryBacking(
                descriptor, status, mode: mode, offset: request.offset, length: request.size, request.rights,
                policy, among: files)
        } else {
            backing = try MemoryBacking(byMessages: request.size, offset: request.offset, request.rights)
        }
        return try .created(insert(backing, into: id, at: request.address, checksRead: checksReads))
    }
}

extension LegacyMap {
    /// How the memory is to be reached. Throws `EINVAL`.
    fileprivate func mode(hasDescriptor: Bool) throws(Errno) -> AccessMode {
        let modes = flags & (LegacyMap.mmap | LegacyMap.fileIO)
        if modes != 0, !hasDescriptor { throw .invalidArgument }
        if flags & ~LegacyMap.known != 0 || modes == LegacyMap.mmap | LegacyMap.fileIO {
            throw .invalidArgument
        }
        if modes == LegacyMap.fileIO { return .fileIO }
        return hasDescriptor ? .mapped : .message
    }

    /// Whether a mapping of the same range is what this would make. The access mode does not matter.
    fileprivate func isSame(as mapping: Mapping, _ status: FileStatus?) -> Bool {
        mapping.fileOffset == offset && mapping.rights == rights && mapping.fileIdentity == status?.identity
    }
}
