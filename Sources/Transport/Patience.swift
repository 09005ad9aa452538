internal import CLinux
internal import Glibc

/// How long a peer may keep somebody waiting in one matter, however little by little it comes forward.
package struct Patience {
    /// When it ends, in ``milliseconds()``; `nil`: never.
    private var deadline: Int?

    /// Begins now.
    ///
    /// - Parameter limit: milliseconds; `nil`: for ever.
    package init(_ limit: Int?) { deadline = limit.map { Self.milliseconds() + $0 } }

    /// Whether time is up.
    package var isOver: Bool { deadline.map { Self.milliseconds() >= $0 } ?? false }

    /// Waits until a descriptor can be read, or written, or its peer has gone.
    ///
    /// - Returns: false when time was up before.
    package func waitToRead(_ descriptor: CInt) -> Bool { wait(descriptor, POLLIN) }

    /// The same for writing.
    package func waitToWrite(_ descriptor: CInt) -> Bool { wait(descriptor, POLLOUT) }

    private func wait(_ descriptor: CInt, _ events: CInt) -> Bool {
        while true {
            let left = deadline.map { $0 - Self.milliseconds() }
            if let left, left <= 0 { return false }
            var waiting = pollfd(fd: descriptor, events: Int16(events), revents: 0)
            // One entry, as said.
            let count = unsafe CLinux.poll(&waiting, 1, left.map { CInt(clamping: $0) } ?? -1)
            // An error other than EINTR shows in the call that the caller makes next.
            if count > 0 || (count < 0 && errno != EINTR) { return true }
        }
    }

    /// Adds the time since `moment`, in ``milliseconds()``, when it was not the peer that one waited for.
    package mutating func excuse(since moment: Int) {
        deadline = deadline.map { $0 + (Self.milliseconds() - moment) }
    }

    /// Milliseconds since some moment.
    package static func milliseconds() -> Int {
        var now = timespec()
        // The clock exists; the structure is the call's to fill.
        _ = unsafe clock_gettime(CLOCK_MONOTONIC, &now)
        return now.tv_sec * 1000 + now.tv_nsec / 1_000_000
    }
}
