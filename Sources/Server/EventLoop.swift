internal import CLinux
internal import Glibc
public import SystemPackage
internal import VFIOUserSystem

/// Runs any number of device servers, and other descriptors, on one thread (Linux epoll).
///
/// The servers must be made with ``WaitingMode/polling`` and realized. Each takes one client after the other.
public final class EventLoop {
    private enum Source {
        case server(DeviceServer, watched: CInt, phase: DeviceServer.Phase?)
        case descriptor(CInt, handler: () -> Void)
    }

    private let epoll: OwnedFD
    private let wakeUp: OwnedFD
    private var sources: [UInt64: Source] = [:]
    private var nextKey: UInt64 = 1
    private var isStopping = false
    /// Microseconds between attempts to take a client when descriptors or memory are short.
    private static let shortageDelay: UInt32 = 10_000

    /// - Throws: `EMFILE`, `ENOMEM`.
    public init() throws(Errno) {
        let number = epoll_create1(CInt(EPOLL_CLOEXEC))
        guard number >= 0 else { throw Errno(rawValue: errno) }
        epoll = OwnedFD(adopting: number)
        wakeUp = OwnedFD(adopting: try clx_eventfd(0, CInt(EFD_NONBLOCK)).orErrno())
        try control(EPOLL_CTL_ADD, wakeUp.number, key: 0)
    }

    /// Serves a device until it is removed.
    ///
    /// - Throws: errors of `epoll_ctl`.
    public func add(_ server: DeviceServer) throws(Errno) {
        let key = nextKey
        nextKey += 1
        sources[key] = .server(server, watched: -1, phase: nil)
        try follow(key)
    }

    /// Stops serving a device. Its client, if any, stays attached.
    public func remove(_ server: DeviceServer) {
        for (key, source) in sources {
            guard case .server(let other, let watched, _) = source, other === server else { continue }
            if server.owns(watched) { try? control(EPOLL_CTL_DEL, watched, key: key) }
            sources[key] = nil
        }
    }

    /// Calls `handler` whenever the descriptor is readable. It stays the caller's.
    ///
    /// - Throws: errors of `epoll_ctl`.
    public func add(_ descriptor: FileDescriptor, handler: @escaping () -> Void) throws(Errno) {
        let key = nextKey
        nextKey += 1
        try control(EPOLL_CTL_ADD, descriptor.rawValue, key: key)
        sources[key] = .descriptor(descriptor.rawValue, handler: handler)
    }

    /// Stops watching a descriptor.
    public func remove(_ descriptor: FileDescriptor) {
        for (key, source) in sources {
            guard case .descriptor(descriptor.rawValue, _) = source else { continue }
            try? control(EPOLL_CTL_DEL, descriptor.rawValue, key: key)
            sources[key] = nil
        }
    }

    /// Makes ``run()`` return. From a handler, a device, or another thread.
    public func stop() {
        var one: UInt64 = 1
        // Only the loop's own thread touches more. A full eventfd wakes it just as well.
        _ = unsafe write(wakeUp.number, &one, 8)
    }

    /// Runs until ``stop()``.
    ///
    /// - Throws: errors of `epoll_wait`, and those of a server that cannot go on.
    public func run() throws(Errno) {
        isStopping = false
        while !isStopping { _ = try runOnce(timeout: -1) }
    }

    /// Waits up to `timeout` milliseconds (-1: for ever) and handles what is there.
    ///
    /// - Returns: whether anything was.
    public func runOnce(timeout: Int32) throws(Errno) -> Bool {
        var timeout = timeout
        var ready: [UInt64] = []
        // Of the sources as they are now; no copy is made unless one of them changes its descriptor.
        for (key, source) in sources {
            try follow(key)
            if case .server(let server, _, _) = source, server.hasRequests { ready.append(key) }
        }
        if !ready.isEmpty { timeout = 0 }
        var events: [16 of epoll_event] = unsafe .init(repeating: epoll_event())
        var span = unsafe events.mutableSpan
        // The buffer holds as many events as the call is told.
        let count = unsafe span.withUnsafeMutableBufferPointer {
            unsafe epoll_wait(epoll.number, $0.baseAddress, CInt($0.count), timeout)
        }
        guard count >= 0 else {
            if errno == EINTR { return false }
            throw Errno(rawValue: errno)
        }
        for place in 0..<Int(count) { try handle(unsafe events[place].data.u64) }
        for key in ready { try handle(key) }
        return count > 0 || !ready.isEmpty
    }

    private func handle(_ key: UInt64) throws(Errno) {
        switch sources[key] {
        case .descriptor(_, let handler): handler()
        case .server(let server, _, _): try serve(server)
        case nil:
            if key == 0 {
                var count: UInt64 = 0
                _ = unsafe read(wakeUp.number, &count, 8)
                isStopping = true
            }
        }
    }

    private func serve(_ server: DeviceServer) throws(Errno) {
        do throws(Errno) {
            if server.isAttached { _ = try server.poll() } else { try server.attach(grace: 0) }
        } catch {
            switch error {
            // No client, one that left or was refused, or a device that is quiescing: nothing for the loop to do.
            case .wouldBlock, .socketNotConnected, .invalidArgument, .badAddress, .noMessage,
                .connectionReset, .brokenPipe, .timedOut, .resourceBusy, .notSupported:
                return
            // There is a client, but there was no room for it. The others may make some: they get the time.
            case .tooManyOpenFiles, .tooManyOpenFilesInSystem, .noMemory, .noBufferSpace:
                if !server.isAttached { usleep(Self.shortageDelay) }
            default:
                do throws(Errno) { try server.giveUpClient(after: error) } catch {
                    guard server.isAttached else { throw error }
                }
            }
        }
    }

    /// Watches the descriptor that the server waits on now.
    private func follow(_ key: UInt64) throws(Errno) {
        guard case .server(let server, let watched, let phase) = sources[key] else { return }
        // While the device quiesces nothing is read, and the socket may stay readable.
        let wanted = server.isQuiescing ? -1 : server.pollDescriptor?.rawValue ?? -1
        guard wanted != watched || server.phase != phase else { return }
        // The same number in another phase is another descriptor. One that is closed is out of the set already, and
        // its number may belong to another source by now.
        if server.owns(watched) { try? control(EPOLL_CTL_DEL, watched, key: key) }
        if wanted >= 0 { try control(EPOLL_CTL_ADD, wanted, key: key) }
        sources[key] = .server(server, watched: wanted, phase: server.phase)
    }

    private func control(_ operation: CInt, _ descriptor: CInt, key: UInt64) throws(Errno) {
        var event = unsafe epoll_event(events: EPOLLIN.rawValue, data: epoll_data_t(u64: key))
        guard unsafe epoll_ctl(epoll.number, operation, descriptor, &event) == 0 else {
            throw Errno(rawValue: errno)
        }
    }
}
