internal import Glibc
package import SystemPackage

/// A file descriptor that is closed exactly once, when its owner goes.
package struct OwnedFD: ~Copyable {
    /// The descriptor's number; valid while the owner lives.
    package let number: CInt

    /// Takes ownership of an open descriptor.
    package init(adopting number: CInt) { self.number = number }

    /// The descriptor for a call that borrows it.
    package var descriptor: FileDescriptor { FileDescriptor(rawValue: number) }

    /// Gives the descriptor up without closing it.
    package consuming func release() -> CInt {
        let number = self.number
        discard self
        return number
    }

    deinit { _ = close(number) }
}

extension CInt {
    /// A result of the CLinux functions: itself, or the errno it stands for.
    package func orErrno() throws(Errno) -> CInt {
        if self < 0 { throw Errno(rawValue: -self) }
        return self
    }
}
