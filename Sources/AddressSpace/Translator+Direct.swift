internal import Glibc
package import SystemPackage
internal import VFIOUserSystem

/// Copying without messages (c-api, DMA access modes).
extension Translator {
    /// Copies all of an entry's memory to `buffer`, which has room for `entry.length` bytes.
    ///
    /// Returns false, with nothing done, if the entry's memory can be had by messages only.
    /// Throws `EINVAL` if the entry is null or stale, `EIO` if reading its file fails or meets its end.
    @unsafe
    package func read(_ entry: SGEntry, into buffer: UnsafeMutableRawPointer) throws(Errno) -> Bool {
        guard let record = unsafe record(of: entry) else { throw .invalidArgument }
        let count = Int(truncatingIfNeeded: entry.length)
        switch unsafe record.pointee.mode {
        case .message: return false
        case .mapped:
            let source = try unsafe localAddress(of: entry)
            // The client may write meanwhile: a copy, never a reference, is what anyone then looks at.
            unsafe memcpy(buffer, source, count)
        case .fileIO:
            let target = unsafe UnsafeMutableRawBufferPointer(start: buffer, count: count)
            do {
                try unsafe file(record).readFully(into: target, at: position(entry, record))
            } catch { throw .ioError }
        }
        return true
    }

    /// Copies `entry.length` bytes from `buffer` to an entry's memory, marking it dirty first.
    ///
    /// Returns false, with nothing done, if the entry's memory can be had by messages only.
    /// Throws `EPERM` if the translation did not ask to write, `EINVAL` if the entry is null or stale,
    /// `EIO` if writing its file fails.
    @unsafe
    package func write(_ entry: SGEntry, from buffer: UnsafeRawPointer) throws(Errno) -> Bool {
        guard entry.isWriteable else { throw .notPermitted }
        guard let record = unsafe record(of: entry) else { throw .invalidArgument }
        let count = Int(truncatingIfNeeded: entry.length)
        switch unsafe record.pointee.mode {
        case .message: return false
        case .mapped:
            let target = try unsafe localAddress(of: entry)
            markDirty(entry)
            unsafe memcpy(target, buffer, count)
        case .fileIO:
            markDirty(entry)
            let source = unsafe UnsafeRawBufferPointer(start: buffer, count: count)
            do {
                try unsafe file(record).writeFully(source, at: position(entry, record))
            } catch { throw .ioError }
        }
        return true
    }

    private func file(_ record: UnsafeMutablePointer<MappingRecord>) -> FileDescriptor {
        FileDescriptor(rawValue: unsafe record.pointee.descriptor)
    }

    private func position(
        _ entry: SGEntry, _ record: UnsafeMutablePointer<MappingRecord>
    ) throws(Errno) -> UInt64 {
        let (position, overflow) = unsafe record.pointee.fileOffset.addingReportingOverflow(entry.offset)
        if overflow { throw .overflow }
        return position
    }
}
