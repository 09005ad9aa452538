internal import CLinux
internal import Glibc
package import SystemPackage

extension FileDescriptor {
    /// Reads all of `buffer` from the file at `offset`, in as many calls as it takes.
    ///
    /// Throws pread's errno, `ENODATA` at the end of the file.
    package func readFully(
        into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
    ) throws(Errno) {
        // The buffer's base and count describe memory the caller vouches for.
        _ = try unsafe clx_read_fully(rawValue, buffer.baseAddress, buffer.count, offset).orErrno()
    }

    /// Writes all of `buffer` to the file at `offset`, in as many calls as it takes.
    ///
    /// Throws pwrite's errno.
    package func writeFully(_ buffer: UnsafeRawBufferPointer, at offset: UInt64) throws(Errno) {
        // As above.
        _ = try unsafe clx_write_fully(rawValue, buffer.baseAddress, buffer.count, offset).orErrno()
    }

    /// The flags the file was opened with (`fcntl(F_GETFL)`). Throws `EBADF`.
    package func openFlags() throws(Errno) -> CInt {
        try clx_fcntl(rawValue, F_GETFL, 0).orErrno()
    }

    /// Whether the file can be mapped with this protection (`PROT_READ`, `PROT_WRITE`) as far as its flags and seals tell.
    package func allowsMapping(_ protection: CInt) -> Bool { clx_may_be_mapped(rawValue, protection) != 0 }
}

extension FileDescriptor {
    /// Writes bytes of the file that a shared mapping shows at `target`; never makes the file longer.
    ///
    /// Throws `EFAULT` if the file does not have (all of) them any more, otherwise pwrite's errno.
    @unsafe
    package func writePresent(
        _ buffer: UnsafeRawBufferPointer, at offset: UInt64, mappedAt target: UnsafeMutableRawPointer
    ) throws(Errno) {
        // As above; `target` is only written to by a system call that reports pages that are gone.
        _ = try unsafe clx_write_present(rawValue, buffer.baseAddress, buffer.count, offset, target).orErrno()
    }

    /// Whether the file can never become shorter (`F_SEAL_SHRINK`).
    package var isSealedAgainstShrinking: Bool { clx_sealed_against_shrinking(rawValue) != 0 }

    /// Tells the exporter of a dma-buf that the processor begins to use it. Throws the errno of DMA_BUF_IOCTL_SYNC.
    package func beginProcessorAccess(writing: Bool) throws(Errno) {
        _ = try clx_dma_buf_sync(rawValue, FileDescriptor.syncFlags(writing)).orErrno()
    }

    /// Tells the exporter that this use is over. Nothing can be done about a failure.
    package func endProcessorAccess(writing: Bool) {
        _ = clx_dma_buf_sync(rawValue, FileDescriptor.syncFlags(writing) | CLX_SYNC_END)
    }

    private static func syncFlags(_ writing: Bool) -> CInt {
        writing ? CLX_SYNC_READ | CLX_SYNC_WRITE : CLX_SYNC_READ
    }
}
