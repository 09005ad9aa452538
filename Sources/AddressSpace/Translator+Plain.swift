package import SystemPackage

extension Translator {
    /// The local address of an entry whose memory can be used like any other; nil if it has to be copied: not
    /// mapped, guarded, or a dma-buf's.
    ///
    /// Throws `EINVAL` if the entry is null or stale.
    @unsafe
    package func plainAddress(of entry: SGEntry) throws(Errno) -> UnsafeMutableRawPointer? {
        guard let record = unsafe record(of: entry) else { throw .invalidArgument }
        guard unsafe record.pointee.care.isEmpty, let base = unsafe record.pointee.address else { return nil }
        // Inside the mapping, as record(of:) found.
        return unsafe base + Int(truncatingIfNeeded: entry.offset)
    }

    /// The entry for all of the mapping that an entry lies in.
    ///
    /// Throws `EINVAL` if the entry is null or stale.
    package func whole(of entry: SGEntry) throws(Errno) -> SGEntry {
        guard let record = unsafe record(of: entry) else { throw .invalidArgument }
        return unsafe SGEntry(
            base: entry.base, reference: entry.reference, length: record.pointee.length, offset: 0,
            writeable: entry.writeable)
    }
}
