internal import Glibc
internal import Synchronization
internal import SystemPackage
internal import VFIOUserSystem

/// A thread that answers the server's commands on the twin socket.
final class DMAThread {
    /// What the thread has to itself until it ends, and how to end it.
    private final class State: @unchecked Sendable {
        // Only the thread touches the channel between start and join.
        let channel: Channel
        let stop: OwnedFile
        init(_ channel: Channel, _ stop: OwnedFile) {
            self.channel = channel
            self.stop = stop
        }

        func run() {
            while true {
                do throws(Errno) {
                    let (commands, stopping) = try Waiting.forEvents(
                        of: channel.socket.number, .readable, of: stop.descriptor.rawValue, .readable,
                        until: .never)
                    if !stopping.isEmpty { return }
                    if !commands.isEmpty { _ = try channel.serveAvailable() }
                } catch {
                    // The server closed the socket or broke the protocol: there is nothing left to serve.
                    return
                }
            }
        }
    }

    private let state: State
    private var thread: pthread_t
    private var isRunning = true

    /// - Throws: `EAGAIN`, `EMFILE` and so on.
    init(_ channel: Channel) throws(Errno) {
        state = State(channel, try .eventFD())
        thread = pthread_t()
        // The thread takes over this reference.
        let argument = unsafe Unmanaged.passRetained(state)
        let result = unsafe pthread_create(
            &thread, nil,
            { argument in
                if let argument = unsafe argument {
                    unsafe Unmanaged<State>.fromOpaque(argument).takeRetainedValue().run()
                }
                return nil
            }, unsafe argument.toOpaque())
        guard result == 0 else {
            unsafe argument.release()
            isRunning = false
            throw Errno(rawValue: result)
        }
    }

    /// Ends the thread, after the command it is serving.
    ///
    /// - Returns: the socket's channel, to be served by others.
    @discardableResult
    func stop() -> Channel {
        if isRunning {
            isRunning = false
            // There is room for one.
            try? state.stop.signal()
            pthread_join(thread, nil)
        }
        return state.channel
    }

    deinit { stop() }
}
