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
}
