internal import CLinux
internal import Glibc
public import SystemPackage

/// A file descriptor that is closed when the last reference to its owner goes.
///
/// Descriptors a server sends come in these: they may be of any kind, whatever the message says.
public final class OwnedFile: Sendable {
    /// The descriptor, to be borrowed; open as long as the owner lives.
    public let descriptor: FileDescriptor

    /// Takes ownership of an open descriptor.
    public init(adopting descriptor: FileDescriptor) { self.descriptor = descriptor }

    /// Duplicates a descriptor, close-on-exec.
    ///
    /// - Throws: the errno of `fcntl`.
    public init(duplicating descriptor: FileDescriptor) throws(Errno) {
        let copy = clx_fcntl(descriptor.rawValue, F_DUPFD_CLOEXEC, 0)
        guard copy >= 0 else { throw Errno(rawValue: -copy) }
        self.descriptor = FileDescriptor(rawValue: copy)
    }

    deinit { _ = close(descriptor.rawValue) }
}
