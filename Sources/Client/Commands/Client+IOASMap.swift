public import SystemPackage
internal import VFIOUserTransport
internal import VFIOUserWire

/// Mapping memory into address spaces (IOAS mode).
///
/// Source: iommufd extension of vfio-user, IOAS_MAP, IOAS_UNMAP, IOAS_COPY. IOVAs and sizes are in bytes. All of
/// them throw `ENOTSUP`, and send nothing, on a connection in legacy mode and where a feature they need was
/// not granted (``ServerDescription/ioas``), `ENOENT` for an address space that there is not, and `EPROTO`,
/// `ENOTCONN` and `ETIMEDOUT` as every call.
extension Client {
    /// Puts memory into an address space (IOAS_MAP), and makes it visible to DMA_READ and DMA_WRITE of the
    /// server while that is attached.
    ///
    /// The memory is kept until it is unmapped or the client goes, whatever becomes of `memory`.
    ///
    /// - Parameters:
    ///   - iova: where the device sees it; nil leaves that to the server. Otherwise it needs
    ///     ``IOASFeatures/fixedIOVA``. Memory that the server reaches by messages should have one if the device
    ///     may use it at once: where the server put it is known here only when the reply has come.
    ///   - range: which part of the memory; nil for all of it.
    ///   - sharing: `.file` sends its descriptor. `.messages`, and memory without a descriptor, need
    ///     ``IOASFeatures/messageDMA``.
    /// - Returns: where the device sees it.
    /// - Throws: `EINVAL` a range outside the memory, no rights, an IOVA that is not allowed; `EEXIST` it is
    ///   not free; `EOVERFLOW`; `ENOSPC` too many mappings; the errno of the server's `mmap`.
    @discardableResult
    public func map(
        _ memory: borrowing DMAMemory, into ioas: IOAS, at iova: UInt64? = nil, range: Range<Int>? = nil,
        rights: DMARights = .readWrite, sharing: DMASharing = .file
    ) throws(Errno) -> UInt64 {
        let part = try memory.part(range, sharing)
        let request = { () throws(Errno) in
            try self.map(
                file: part.file?.descriptor, offset: part.fileOffset, size: UInt64(part.range.count),
                into: ioas, at: iova, rights: rights, userAddress: part.address)
        }
        return try insert(into: ioas, at: iova, while: request) { iova throws(Errno) in
            try DMATable.Entry(part, at: iova, rights)
        }
    }

    /// Sends an IOAS_MAP of any file, or of none. DMA messages of the server do not find this memory.
    ///
    /// - Parameters:
    ///   - offset: of the memory in its file, bytes; need not be at a page boundary.
    ///   - userAddress: where the client itself has the memory: told to the device, never used.
    /// - Returns: where the device sees it.
    /// - Throws: as ``map(_:into:at:range:rights:sharing:)``.
    @discardableResult
    public func map(
        file: FileDescriptor?, offset: UInt64 = 0, size: UInt64, into ioas: IOAS, at iova: UInt64? = nil,
        rights: DMARights = .readWrite, userAddress: UInt64 = 0
    ) throws(Errno) -> UInt64 {
        try require(file == nil ? .messageDMA : [])
        let request = IOASMap(
            ioasID: ioas.rawValue, flags: try flags(rights, iova), userVA: userAddress, length: size,
            iova: iova ?? 0, offset: offset)
        let reply = try exchange(.ioasMap, request, descriptors: file.map { [$0.rawValue] } ?? [])
        guard reply.ioasID == ioas.rawValue, reply.length == size else { throw .protocolError }
        return try checked(reply.iova, size, iova)
    }

    /// Takes away what lies entirely within a range of IOVAs (IOAS_UNMAP); usually that is one mapping.
    ///
    /// - Returns: bytes unmapped; nil without ``IOASFeatures/replyArguments``.
    /// - Throws: `ENOENT`, and nothing is unmapped, if there is nothing or a mapping lies partly within;
    ///   `EINVAL` no bytes; `EOVERFLOW`; the errno with which the device refuses to quiesce.
    @discardableResult
    public func unmap(_ iova: UInt64, size: UInt64, from ioas: IOAS) throws(Errno) -> UInt64? {
        let bytes = try unmap(IOASUnmap(ioasID: ioas.rawValue, iova: iova, length: size))
        if iova == 0, size == .max {
            // Means everything.
            responder.table.removeAll(in: ioas.rawValue)
        } else {
            responder.table.remove(first: iova, last: iova &+ (size &- 1), in: ioas.rawValue)
        }
        return bytes
    }

    /// Takes everything out of an address space (IOAS_UNMAP with the flag UNMAP_ALL), be it nothing.
    ///
    /// - Returns: bytes unmapped; nil without ``IOASFeatures/replyArguments``.
    /// - Throws: the errno with which the device refuses to quiesce.
    @discardableResult
    public func unmapAll(from ioas: IOAS) throws(Errno) -> UInt64? {
        let bytes = try unmap(IOASUnmap(ioasID: ioas.rawValue, flags: .all, iova: 0, length: 0))
        responder.table.removeAll(in: ioas.rawValue)
        return bytes
    }

    private func unmap(_ request: IOASUnmap) throws(Errno) -> UInt64? {
        guard try require().contains(.replyArguments) else {
            try carryOut(.ioasUnmap, request)
            return nil
        }
        return try exchange(.ioasUnmap, request).length
    }

    /// Shares memory of one mapping with another address space, or another place (IOAS_COPY). Needs
    /// ``IOASFeatures/copy``.
    ///
    /// - Parameters:
    ///   - iova: where the memory is in `source`; all of it must be in one mapping.
    ///   - fixed: where it shall be in `target`; nil leaves that to the server. Otherwise it needs
    ///     ``IOASFeatures/fixedIOVA``.
    ///   - rights: no more than the source has.
    /// - Returns: where it is in `target`.
    /// - Throws: `ENOENT` it is not in one mapping; `EPERM` more rights; otherwise as
    ///   ``map(_:into:at:range:rights:sharing:)``.
    @discardableResult
    public func copy(
        _ iova: UInt64, size: UInt64, from source: IOAS, to target: IOAS, at fixed: UInt64? = nil,
        rights: DMARights = .readWrite
    ) throws(Errno) -> UInt64 {
        try require(.copy)
        let request = { () throws(Errno) in
            let request = IOASCopy(
                sourceID: source.rawValue, destinationID: target.rawValue,
                flags: try self.flags(rights, fixed), sourceIOVA: iova, destinationIOVA: fixed ?? 0,
                length: size)
            let reply = try self.exchange(.ioasCopy, request)
            guard reply.destinationID == target.rawValue, reply.length == size else { throw .protocolError }
            return try self.checked(reply.destinationIOVA, size, fixed)
        }
        let (last, overflow) = iova.addingReportingOverflow(size &- 1)
        guard size > 0, !overflow,
            let entry = responder.table.entry(of: iova...last, in: source.rawValue)
        else {
            return try request()
        }
        return try insert(into: target, at: fixed, while: request) { place throws(Errno) in
            let (last, overflow) = place.addingReportingOverflow(size - 1)
            guard !overflow else { throw .overflow }
            return DMATable.Entry(
                first: place, last: last, rights: rights, memory: entry.memory,
                offset: entry.offset + Int(iova - entry.first))
        }
    }
}

extension Client {
    /// Has the server's commands find memory that a request maps: from before the request on where its place
    /// is known by then.
    private func insert(
        into ioas: IOAS, at fixed: UInt64?, while request: () throws(Errno) -> UInt64,
        entry: (UInt64) throws(Errno) -> DMATable.Entry
    ) throws(Errno) -> UInt64 {
        let space = ioas.rawValue
        guard let fixed else {
            let iova = try request()
            try responder.table.insert(entry(iova), in: space)
            return iova
        }
        try responder.table.insert(entry(fixed), in: space) { () throws(Errno) in _ = try request() }
        return fixed
    }

    private func flags(_ rights: DMARights, _ fixed: UInt64?) throws(Errno) -> IOASMapFlags {
        var flags: IOASMapFlags = []
        if rights.contains(.read) { flags.insert(.readable) }
        if rights.contains(.write) { flags.insert(.writeable) }
        if fixed != nil {
            try require(.fixedIOVA)
            flags.insert(.fixedIOVA)
        }
        return flags
    }

    /// The IOVA of a reply.
    ///
    /// - Throws: `EPROTO` it cannot be, or another was asked for.
    private func checked(_ iova: UInt64, _ size: UInt64, _ fixed: UInt64?) throws(Errno) -> UInt64 {
        guard iova == fixed ?? iova, !iova.addingReportingOverflow(size &- 1).overflow else {
            throw .protocolError
        }
        return iova
    }
}
