package import SystemPackage
internal import VFIOUserSystem

/// Uses of dma-bufs by the processor, between which caches may have to be written back or dropped: each is
/// announced to the exporter (DMA_BUF_IOCTL_SYNC).
extension Translator {
    /// Whether there are dma-bufs at all: without, nothing else here is to be called.
    @inlinable
    package var hasSynchronizedMemory: Bool { unsafe state.pointee.synchronizedCount != 0 }

    /// Begins the use of an entry's memory, if it is a dma-buf's. Throws the errno of the ioctl.
    package func beginAccess(_ entry: SGEntry) throws(Errno) {
        guard let file = synchronizedFile(entry) else { return }
        try file.beginProcessorAccess(writing: entry.isWriteable)
    }

    /// Ends the use.
    @usableFromInline
    package func endAccess(_ entry: SGEntry) {
        synchronizedFile(entry)?.endProcessorAccess(writing: entry.isWriteable)
    }

    private func synchronizedFile(_ entry: SGEntry) -> FileDescriptor? {
        guard let record = unsafe record(of: entry), unsafe record.pointee.care.contains(.synchronized) else {
            return nil
        }
        return unsafe FileDescriptor(rawValue: record.pointee.descriptor)
    }
}
