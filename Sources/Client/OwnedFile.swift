internal import CLinux
internal import Glibc
public import SystemPackage
internal import VFIOUserSystem

/// A file descriptor that is closed when the last reference to its owner goes.
///
/// Descriptors a server sends come in these: they may be of any kind, whatever the message says.
public final class OwnedFile: Sendable {
    private let file: OwnedFD

    /// The descriptor, to be borrowed; open as long as the owner lives.
    public var descriptor: FileDescriptor { file.descriptor }

    /// Takes ownership of an open descriptor.
    public convenience init(adopting descriptor: FileDescriptor) {
        self.init(OwnedFD(adopting: descriptor.rawValue))
    }

    /// Duplicates a descriptor, close-on-exec.
    ///
    /// - Throws: the errno of `fcntl`.
    public convenience init(duplicating descriptor: FileDescriptor) throws(Errno) {
        try self.init(OwnedFD(duplicating: descriptor))
    }

    init(_ file: consuming OwnedFD) { self.file = file }
}

extension OwnedFile {
    /// Makes an eventfd that counts from 0.
    ///
    /// - Throws: `EMFILE`, `ENFILE`, `ENOMEM`.
    static func eventFD(_ flags: CInt = 0) throws(Errno) -> OwnedFile {
        OwnedFile(OwnedFD(adopting: try clx_eventfd(0, flags).orErrno()))
    }

    /// Adds 1 to an eventfd.
    ///
    /// - Throws: the errno of `write`.
    func signal() throws(Errno) {
        var one: UInt64 = 1
        // 8 bytes of a local.
        guard unsafe write(descriptor.rawValue, &one, 8) == 8 else { throw Errno(rawValue: errno) }
    }
}

extension OwnedFD {
    /// Duplicates a descriptor, close-on-exec.
    ///
    /// - Throws: the errno of `fcntl`.
    init(duplicating descriptor: FileDescriptor) throws(Errno) {
        self.init(adopting: try clx_fcntl(descriptor.rawValue, F_DUPFD_CLOEXEC, 0).orErrno())
    }
}
