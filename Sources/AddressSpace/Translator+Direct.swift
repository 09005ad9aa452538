internal import Glibc
package import SystemPackage
internal import VFIOUserSystem

/// Copying without messages (c-api, DMA access modes).
extension Translator {
    /// Copies all of an entry's memory to `buffer`, which has room for `entry.length` bytes.
    ///
    /// Returns false, with nothing done, if the entry's memory can be had by messages only. Throws
    /// `EINVAL` if the entry is null or stale, `EIO` if reading its file fails or meets its end, `EFAULT`
    /// if a guarded file has lost the bytes.
    @unsafe
    package func read(_ entry: SGEntry, into buffer: UnsafeMutableRawPointer) throws(Errno) -> Bool {
        guard let record = unsafe record(of: entry) else { throw .invalidArgument }
        let count = Int(truncatingIfNeeded: entry.length)
        switch unsafe record.pointee.mode {
        case .message: return false
        case .mapped:
            let source = try unsafe localAddress(of: entry)
            if unsafe !record.pointee.care.isEmpty {
                try unsafe carefully(read: entry, record, source, into: buffer, count)
                break
            }
            // The client may write meanwhile: a copy, never a reference, is what anyone then looks at.
            unsafe memcpy(buffer, source, count)
        case .fileIO:
            do { try unsafe readFile(entry, record, into: buffer, count) } catch { throw .ioError }
        }
        return true
    }

    /// Copies `entry.length` bytes from `buffer` to an entry's memory, and marks it dirty afterwards: a report in the middle
    /// would clear what was marked before, and nothing would tell of what is copied after it. What fails is marked, too,
    /// since some of it may have been written.
    ///
    /// Returns false, with nothing done, if the entry's memory can be had by messages only.
    /// Throws `EPERM` if the translation did not ask to write, `EINVAL` if the entry is null or stale,
    /// `EIO` if writing its file fails, `EFAULT` if a guarded file has lost the bytes.
    @unsafe
    package func write(_ entry: SGEntry, from buffer: UnsafeRawPointer) throws(Errno) -> Bool {
        guard entry.isWriteable else { throw .notPermitted }
        guard let record = unsafe record(of: entry) else { throw .invalidArgument }
        let count = Int(truncatingIfNeeded: entry.length)
        switch unsafe record.pointee.mode {
        case .message: return false
        case .mapped:
            let target = try unsafe localAddress(of: entry)
            defer { markDirty(entry) }
            if unsafe !record.pointee.care.isEmpty {
                try unsafe carefully(write: entry, record, target, from: buffer, count)
                break
            }
            unsafe memcpy(target, buffer, count)
        case .fileIO:
            defer { markDirty(entry) }
            let source = unsafe UnsafeRawBufferPointer(start: buffer, count: count)
            do {
                try unsafe file(record).writeFully(source, at: position(entry, record))
            } catch { throw .ioError }
        }
        return true
    }

    /// From mapped memory that is guarded or a dma-buf's.
    private func carefully(
        read entry: SGEntry, _ record: UnsafeMutablePointer<MappingRecord>, _ source: UnsafeRawPointer,
        into buffer: UnsafeMutableRawPointer, _ count: Int
    ) throws(Errno) {
        if unsafe record.pointee.care.contains(.guarded) {
            // Touching `source` could be fatal; reading behind the file's end is an error.
            do { try unsafe readFile(entry, record, into: buffer, count) } catch { throw .badAddress }
            return
        }
        let file = unsafe file(record)
        do { try file.beginProcessorAccess(writing: false) } catch { throw .ioError }
        unsafe memcpy(buffer, source, count)
        file.endProcessorAccess(writing: false)
    }

    /// To mapped memory that is guarded or a dma-buf's.
    private func carefully(
        write entry: SGEntry, _ record: UnsafeMutablePointer<MappingRecord>,
        _ target: UnsafeMutableRawPointer, from buffer: UnsafeRawPointer, _ count: Int
    ) throws(Errno) {
        let file = unsafe file(record)
        if unsafe record.pointee.care.contains(.guarded) {
            let source = unsafe UnsafeRawBufferPointer(start: buffer, count: count)
            do {
                try unsafe file.writePresent(source, at: position(entry, record), mappedAt: target)
            } catch { throw .badAddress }
            return
        }
        do { try file.beginProcessorAccess(writing: true) } catch { throw .ioError }
        unsafe memcpy(target, buffer, count)
        file.endProcessorAccess(writing: true)
    }

    private func readFile(
        _ entry: SGEntry, _ record: UnsafeMutablePointer<MappingRecord>,
        into buffer: UnsafeMutableRawPointer, _ count: Int
    ) throws(Errno) {
        let target = unsafe UnsafeMutableRawBufferPointer(start: buffer, count: count)
        try unsafe file(record).readFully(into: target, at: position(entry, record))
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
