internal import CLinux
internal import Glibc
public import SystemPackage

/// An eventfd on which a device signals an interrupt: counts, and can be waited for.
///
/// The device keeps a descriptor of its own, so interrupts of a listener that is gone are lost, not errors.
public final class InterruptListener: Sendable {
    private let file: OwnedFile

    /// The eventfd, for an event loop. It becomes readable when an interrupt came.
    public var descriptor: FileDescriptor { file.descriptor }

    /// - Throws: `EMFILE`, `ENFILE`, `ENOMEM`.
    public init() throws(Errno) {
        file = try .eventFD(CInt(EFD_NONBLOCK))
    }

    /// Interrupts since the last look, which are taken; 0 without waiting if there were none.
    ///
    /// - Throws: the errno of `read`.
    @discardableResult
    public func take() throws(Errno) -> UInt64 {
        var count: UInt64 = 0
        // An eventfd gives exactly 8 bytes.
        let result = unsafe read(descriptor.rawValue, &count, MemoryLayout<UInt64>.size)
        guard result < 0 else { return result == MemoryLayout<UInt64>.size ? count : 0 }
        guard errno == EAGAIN || errno == EINTR else { throw Errno(rawValue: errno) }
        return 0
    }

    /// Waits for an interrupt and takes all there are.
    ///
    /// - Parameter timeout: nil waits for ever.
    /// - Returns: how many there were, 0 when the time was over.
    /// - Throws: the errno of `poll`, `read`.
    @discardableResult
    public func wait(timeout: Duration? = nil) throws(Errno) -> UInt64 {
        let deadline = Deadline(after: timeout)
        while true {
            let count = try take()
            if count > 0 || deadline.hasPassed { return count }
            _ = try Waiting.forEvents(of: descriptor.rawValue, .readable, until: deadline)
        }
    }
}
