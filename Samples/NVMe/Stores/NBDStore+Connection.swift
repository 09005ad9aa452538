internal import Glibc
internal import NVMeController
public import SystemPackage

/// The life of the connection.
extension NBDStore {
    /// How long a server that was lost is left alone after an attempt.
    private static let pause = Duration.seconds(1)

    /// Takes answers, and notices that the server has gone or come back.
    public func reap(wait: Bool, _ completed: (UInt32, Errno?) -> Void) {
        var mustWait = wait && pendingCount > 0
        repeat {
            advance(timeout: unsafe mustWait && ended.pointee.isEmpty ? 100 : 0)
            while let pending = unsafe ended.pointee.takeFirst() {
                if unsafe goesOn(pending) {
                    unsafe begin(pending)
                    continue
                }
                let token = unsafe pending.pointee.request.token
                let error = unsafe pending.pointee.progress.error
                unsafe state.pointee.pool.giveBack(pending)
                mustWait = false
                completed(token, error)
            }
        } while mustWait && pendingCount > 0
        setAlarm()
        follow()
    }

    private func advance(timeout: Int) {
        guard unsafe state.pointee.connection != nil else { return }
        let hasAdvanced = unsafe state.pointee.connection?.advance(timeout: timeout) ?? false
        if unsafe state.pointee.connection?.isLost ?? true { return lose("the NBD server has gone") }
        if unsafe !state.pointee.isReady, unsafe state.pointee.connection?.isReady ?? false { return adopt() }
        guard unsafe pendingCount > 0 || !state.pointee.isReady else { return }
        let now = ContinuousClock.now
        if hasAdvanced {
            // However late: the delay may be this thread's.
            unsafe state.pointee.heard = now
        } else if unsafe now - state.pointee.heard >= patience {
            lose("the NBD server does not answer")
        }
    }

    /// The end of a connection: whatever is in flight fails.
    private func lose(_ reason: String) {
        let wasReady = unsafe state.pointee.isReady
        // Its call-backs end all requests.
        unsafe state.pointee.watch.forget()
        unsafe state.pointee.connection = nil
        unsafe state.pointee.isReady = false
        unsafe state.pointee.heard = .now
        guard wasReady else { return }
        if unsafe state.pointee.changes > state.pointee.flushed {
            unsafe state.pointee.hasLostChanges = hasVolatileCache
            unsafe state.pointee.flushed = state.pointee.changes
        }
        report?(reason)
    }

    /// Begins to connect to a server that was lost, unless that was tried a moment ago.
    func connectAgain() {
        guard unsafe state.pointee.connection == nil,
            unsafe ContinuousClock.now - state.pointee.heard >= Self.pause
        else { return }
        unsafe state.pointee.heard = .now
        do throws(NBDFailure) { unsafe state.pointee.connection = try NBDConnection(uri) } catch { return }
        setAlarm()
        follow()
    }

    /// The server is back, if it is the same.
    private func adopt() {
        let found = (try? unsafe state.pointee.connection?.abilities()) ?? NBDAbilities()
        guard found.byteCount == byteCount, isReadOnly || !found.isReadOnly,
            found.canFlush == abilities.canFlush, found.canZero || !abilities.canZero,
            found.canTrim || !abilities.canTrim, found.canWriteDurably || !abilities.canWriteDurably,
            found.minimum <= abilities.minimum, found.maximum >= abilities.maximum
        else { return lose("the NBD server is another") }
        unsafe state.pointee.isReady = true
        unsafe state.pointee.watch.forget()
        report?("the NBD server is back")
    }

    // MARK: Being woken

    /// Has the descriptor follow the connection.
    func follow() {
        // Until it is ready, libnbd may have closed a descriptor and opened another of the same number.
        if unsafe !state.pointee.isReady { unsafe state.pointee.watch.forget() }
        let descriptor = unsafe state.pointee.connection?.descriptor ?? -1
        let (reads, writes) = unsafe state.pointee.connection?.direction ?? (false, false)
        unsafe state.pointee.watch.follow(descriptor, reads: reads, writes: writes)
    }

    /// Sees to it that the descriptor tells when the server has said nothing for too long.
    func setAlarm() {
        if let alarm = unsafe state.pointee.alarm {
            guard ContinuousClock.now >= alarm else { return }
            unsafe state.pointee.alarm = nil
            unsafe state.pointee.watch.rest()
        }
        let isWaiting = unsafe pendingCount > 0 || (state.pointee.connection != nil && !state.pointee.isReady)
        guard isWaiting else { return }
        let now = ContinuousClock.now
        let due = unsafe max(state.pointee.heard + patience, now + .milliseconds(1))
        unsafe state.pointee.alarm = due
        let (seconds, attoseconds) = (due - now).components
        // Rounded up: an alarm that comes early would have to be set again.
        unsafe state.pointee.watch.wake(
            after: Int(clamping: seconds) * 1000 + Int(attoseconds / 1_000_000_000_000_000) + 1)
    }
}
