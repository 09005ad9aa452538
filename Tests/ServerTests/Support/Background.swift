import Glibc

/// A thread of its own for the other side of a conversation that blocks.
///
/// Unsafe because what the body uses goes to another thread unchecked: a test must not touch it before ``join()``, or
/// only what is fit for that, as a socket is.
@safe final class Background {
    private var thread = pthread_t()

    private final class Body {
        let run: () -> Void
        init(_ run: @escaping () -> Void) { self.run = run }
    }

    init(_ body: @escaping () -> Void) {
        let box = unsafe Unmanaged.passRetained(Body(body))
        // The thread takes over the reference.
        _ = unsafe pthread_create(
            &thread, nil,
            { argument in
                if let argument = unsafe argument {
                    unsafe Unmanaged<Body>.fromOpaque(argument).takeRetainedValue().run()
                }
                return nil
            }, box.toOpaque())
    }

    /// Sends the thread a signal, which must be handled.
    func signal(_ number: CInt) { _ = pthread_kill(thread, number) }

    /// Waits until the body has ended.
    func join() { _ = pthread_join(thread, nil) }
}

/// A value that threads share, behind a lock that the thread sanitizer knows.
@safe final class Locked<Value> {
    private let lock = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private var value: Value

    init(_ value: Value) {
        self.value = value
        // Made once, at a place that stays.
        unsafe pthread_mutex_init(lock, nil)
    }

    deinit {
        unsafe pthread_mutex_destroy(lock)
        unsafe lock.deallocate()
    }

    func withLock<Result>(_ body: (inout Value) -> Result) -> Result {
        unsafe pthread_mutex_lock(lock)
        defer { unsafe pthread_mutex_unlock(lock) }
        return body(&value)
    }
}

/// Waits so many milliseconds.
func pause(_ milliseconds: Int) { _ = usleep(UInt32(milliseconds) * 1000) }
