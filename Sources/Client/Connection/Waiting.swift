internal import CLinux
internal import Glibc
internal import SystemPackage

/// Waiting for descriptors, with a limit.
enum Waiting {
    /// What `poll` says about a descriptor.
    struct Events: OptionSet {
        let rawValue: Int16
        static let readable = Events(rawValue: Int16(POLLIN))
        static let writable = Events(rawValue: Int16(POLLOUT))
        /// Closed or broken; reported whether asked for or not.
        static let broken = Events(rawValue: Int16(POLLHUP | POLLERR | POLLNVAL))
    }

    /// Waits until one of two descriptors is ready; -1 is no descriptor.
    ///
    /// - Returns: what each is ready for, nothing for both when the time is over.
    /// - Throws: the errno of `poll`.
    static func forEvents(
        of first: CInt, _ firstEvents: Events, of second: CInt = -1, _ secondEvents: Events = [],
        until deadline: Deadline
    ) throws(Errno) -> (Events, Events) {
        var entries: [2 of pollfd] = [
            pollfd(fd: first, events: firstEvents.rawValue, revents: 0),
            pollfd(fd: second, events: secondEvents.rawValue, revents: 0),
        ]
        while true {
            var span = entries.mutableSpan
            // Two initialised entries, as said.
            let count = unsafe span.withUnsafeMutableBufferPointer {
                unsafe poll($0.baseAddress, 2, deadline.milliseconds)
            }
            if count >= 0 { break }
            guard errno == EINTR else { throw Errno(rawValue: errno) }
        }
        return (Events(rawValue: entries[0].revents), Events(rawValue: entries[1].revents))
    }
}

/// A point in time after which a wait fails, or never.
struct Deadline {
    private let instant: ContinuousClock.Instant?

    static var never: Deadline { Deadline(after: nil) }

    init(after duration: Duration?) {
        instant = duration.map { ContinuousClock.now.advanced(by: min($0, .seconds(1_000_000_000))) }
    }

    var hasPassed: Bool {
        guard let instant else { return false }
        return ContinuousClock.now >= instant
    }

    /// What is left, for `poll`: rounded up, -1 for ever.
    var milliseconds: CInt {
        guard let instant else { return -1 }
        let left = ContinuousClock.now.duration(to: instant)
        guard left > .zero else { return 0 }
        let parts = left.components
        return CInt(
            clamping: parts.seconds.multipliedReportingOverflow(by: 1000).partialValue
                &+ parts.attoseconds / 1_000_000_000_000_000 &+ 1)
    }
}
