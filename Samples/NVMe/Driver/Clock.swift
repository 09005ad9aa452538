internal import Glibc

/// The time since the machine started, nanoseconds: some 20 ns a call, no system call.
public func monotonicNanoseconds() -> UInt64 {
    var time = timespec()
    // The call fills the structure; it cannot fail for this clock.
    _ = unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(truncatingIfNeeded: time.tv_sec) &* 1_000_000_000
        &+ UInt64(truncatingIfNeeded: time.tv_nsec)
}

extension Duration {
    /// Nanoseconds, no less than 0, no more than 2^63.
    var nanoseconds: UInt64 {
        let (seconds, attoseconds) = components
        guard seconds >= 0, attoseconds >= 0 else { return 0 }
        guard seconds < 9_000_000_000 else { return 1 << 63 }
        return UInt64(seconds) * 1_000_000_000 + UInt64(attoseconds / 1_000_000_000)
    }
}
