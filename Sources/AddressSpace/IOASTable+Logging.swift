package import SystemPackage
internal import VFIOUserSystem

/// Dirty logging (vfio-user protocol, DEVICE_FEATURE).
///
/// Bits belong to mappings; whether logging is on belongs to the table and outlives connections. Tracked are
/// the mappings of the attached address space that have a file.
extension IOASTable {
    /// The page size of dirty logging in bytes, 0 if it is off.
    package var loggingPageSize: UInt64 { unsafe state.pointee.loggingPageSize }

    /// Starts dirty logging, all clean (DMA_LOGGING_START). The page size need not be a power of two.
    ///
    /// Throws `EINVAL` for a page size of 0, another page size than the one in use, or one larger than
    /// a mapping to be tracked; `ENOMEM`.
    package func startLogging(pageSize: UInt64) throws(Errno) {
        if pageSize == 0 { throw .invalidArgument }
        if loggingPageSize != 0 {
            if pageSize != loggingPageSize { throw .invalidArgument }
            return
        }
        var fits = true
        if let attached {
            unsafe forEach(in: attached) { record in
                if unsafe record.pointee.mode != .message, unsafe record.pointee.length < pageSize {
                    fits = false
                }
            }
        }
        if !fits { throw .invalidArgument }
        unsafe state.pointee.fencesMarking = !ThreadFence.prepare()
        setLogging(pageSize)
        do {
            if let attached { try track(attached) }
        } catch {
            setLogging(0)
            throw error
        }
    }

    /// Stops dirty logging and forgets what was dirty (DMA_LOGGING_STOP). Fine if it was off.
    package func stopLogging() {
        // The bits' size follows from the page size, so they go first.
        if let attached { untrack(attached) }
        setLogging(0)
    }

    private func setLogging(_ pageSize: UInt64) {
        unsafe state.pointee.loggingPageSize = pageSize
        let isPower = pageSize != 0 && pageSize & (pageSize - 1) == 0
        let isPlain = unsafe isPower && !state.pointee.fencesMarking
        unsafe state.pointee.loggingShift = isPlain ? UInt64(pageSize.trailingZeroBitCount) : 64
    }

    /// Gives clean bits to every mapping to be tracked, or to none. Throws `ENOMEM`.
    func track(_ space: IOAS) throws(Errno) {
        var place = unsafe space.tree.first
        while let here = unsafe place {
            let record = unsafe pool.record(here.slot)
            // Those prepared to be attached have theirs.
            if unsafe record.pointee.mode != .message, unsafe record.pointee.dirty == nil {
                do {
                    let count = unsafe DirtyBitmap.words(record.pointee.length, pageSize: loggingPageSize)
                    unsafe record.pointee.dirty = try DirtyBitmap(words: count).release()
                } catch {
                    untrack(space)
                    throw error
                }
            }
            unsafe place = here.next
        }
    }

    /// Takes the bits from every mapping of an address space.
    func untrack(_ space: IOAS) {
        if loggingPageSize == 0 { return }
        unsafe forEach(in: space) { record in unsafe untrack(record) }
    }

    func untrack(_ record: UnsafeMutablePointer<MappingRecord>) {
        guard let words = unsafe record.pointee.dirty else { return }
        unsafe record.pointee.dirty = nil
        let count = unsafe DirtyBitmap.words(record.pointee.length, pageSize: loggingPageSize)
        // Made by newBits or track, for the same length and page size.
        _ = unsafe DirtyBitmap(adopting: words, words: count)
    }

    /// Begins a report of what is dirty in `length` bytes from `iova` on, in bits for `pageSize` bytes each
    /// (DMA_LOGGING_REPORT, DMA_UNMAP with GET_DIRTY_BITMAP).
    ///
    /// Bits are cleared as the report is read, not before. Throws, in this order: `EINVAL` as
    /// `DirtyReport.byteCount`; `ENOENT` if the range is not within one mapping of the attached address
    /// space; `ENOTSUP` if it does not start where the mapping does; `EINVAL` if logging is off, the page
    /// size is not a power of two, the range is smaller than a page of the logging's, or the mapping has no
    /// file.
    package func report(_ iova: UInt64, _ length: UInt64, pageSize: UInt64) throws(Errno) -> DirtyReport {
        _ = try DirtyReport.byteCount(length, pageSize: pageSize)
        let (last, wraps) = iova.addingReportingOverflow(length - 1)
        guard !wraps, let mapping = attached?.mapping(at: iova), mapping.last >= last else {
            throw .noSuchFileOrDirectory
        }
        if mapping.iova != iova { throw .notSupported }
        let logged = loggingPageSize
        guard logged != 0, pageSize & (pageSize - 1) == 0, length >= logged, mapping.mode != .message else {
            throw .invalidArgument
        }
        return DirtyReport(mapping, length, pageSize: pageSize, loggingPageSize: logged)
    }
}
