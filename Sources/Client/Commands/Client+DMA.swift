public import SystemPackage
internal import VFIOUserTransport
internal import VFIOUserWire

extension Client {
    /// Makes memory visible to the device (DMA_MAP), and to DMA_READ and DMA_WRITE of the server.
    ///
    /// The memory is kept until it is unmapped or the client goes, whatever becomes of `memory`.
    ///
    /// - Parameters:
    ///   - iova: where the device sees it.
    ///   - range: which part of the memory; nil for all of it.
    ///   - sharing: `.file` sends its descriptor; memory without one is shared by messages in any case.
    /// - Throws: `EINVAL` for a range outside the memory or addresses beyond 2^64; what the server answers.
    public func map(
        _ memory: borrowing DMAMemory, at iova: UInt64, range: Range<Int>? = nil,
        rights: DMARights = .readWrite,
        sharing: DMASharing = .file, mode: DMAMode = .serverChoice
    ) throws(Errno) {
        let part = try memory.part(range, sharing)
        let entry = try DMATable.Entry(part, at: iova, rights)
        let request = { () throws(Errno) in
            try self.map(
                file: part.file?.descriptor, offset: part.fileOffset, size: UInt64(part.range.count),
                at: iova,
                rights: rights, mode: mode)
        }
        guard let space = responder.table.compatible else { return try request() }
        try responder.table.insert(entry, in: space, while: request)
    }

    /// Sends a DMA_MAP of any file, or of none. DMA messages of the server do not find this memory.
    public func map(
        file: FileDescriptor?, offset: UInt64 = 0, size: UInt64, at iova: UInt64,
        rights: DMARights = .readWrite,
        mode: DMAMode = .serverChoice
    ) throws(Errno) {
        try perform(.map(file, offset: offset, size: size, at: iova, rights: rights, mode: mode))
    }

    /// Takes memory away from the device (DMA_UNMAP): exactly what was mapped at once.
    ///
    /// - Throws: `ENOENT` there is no such mapping; what else the server answers; `EPROTO`.
    public func unmap(_ iova: UInt64, size: UInt64) throws(Errno) {
        try unmap(DMAUnmap(address: iova, size: size))
        forget(iova, size)
    }

    /// Takes all memory away from the device (DMA_UNMAP with the flag ALL).
    public func unmapAll() throws(Errno) {
        try unmap(.everything)
        if let space = responder.table.compatible { responder.table.removeAll(in: space) }
    }

    /// Takes memory away and says what the device has written there since logging began or was last asked.
    ///
    /// - Parameter pageSize: bytes one bit of the answer stands for.
    /// - Throws: `EINVAL` a page size of 0, an answer too long for a message; `ENOENT`, `ENOTSUP` and others
    ///   as the server answers.
    public func unmapReportingDirty(_ iova: UInt64, size: UInt64, pageSize: UInt64) throws(Errno)
        -> DirtyBitmap
    {
        let report = DMALoggingReport(iova: iova, length: size, pageSize: pageSize)
        guard let count = report.bitmapByteCount else { throw .invalidArgument }
        let request = DMAUnmap(
            address: iova, size: size, bitmap: DMAUnmap.BitmapRequest(pageSize: pageSize, size: count))
        guard request.replyByteCount <= Int(Limits.maxArgumentByteCount) else { throw .invalidArgument }
        let bits = try unmap(request)
        forget(iova, size)
        return DirtyBitmap(iova: iova, size: size, pageSize: pageSize, bytes: bits)
    }

    /// Sends the request and returns what follows its echo.
    @discardableResult
    private func unmap(_ request: DMAUnmap) throws(Errno) -> [UInt8] {
        return try channel.exchange(.dmaUnmap, request) { payload, _ throws(Errno) in
            // A device without DMA answers with nothing.
            if payload.isEmpty, request.bitmap == nil { return [] }
            var reader = Reader(payload)
            guard let echo = try? DMAUnmap(decoding: &reader) else { throw .protocolError }
            guard echo.address == request.address, echo.size == request.size, echo.bitmap == request.bitmap,
                reader.remaining == request.replyByteCount - reader.consumed
            else { throw .protocolError }
            // Copied while the message is in place.
            return unsafe reader.rest().withUnsafeBytes { unsafe Array($0) }
        }
    }

    private func forget(_ iova: UInt64, _ size: UInt64) {
        guard let space = responder.table.compatible else { return }
        responder.table.remove(first: iova, last: iova &+ (size &- 1), in: space)
    }
}
