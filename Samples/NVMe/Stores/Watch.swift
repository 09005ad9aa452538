internal import CNVMeSystem
internal import Glibc
internal import SystemPackage

/// One descriptor that is readable when another is ready, in either direction, or when time is up.
struct Watch: ~Copyable {
    private let epoll: CInt
    private let timer: CInt
    private var watched: CInt = -1
    private var direction = (reads: false, writes: false)

    /// - Throws: `EMFILE`, `ENOMEM`.
    init() throws(Errno) {
        let set = nvmesys_epoll()
        guard set >= 0 else { throw Errno(rawValue: -set) }
        let clock = nvmesys_timer()
        let result = clock < 0 ? clock : nvmesys_epoll_add(set, clock, 1, 0)
        guard result >= 0 else {
            if clock >= 0 { _ = close(clock) }
            _ = close(set)
            throw Errno(rawValue: -result)
        }
        epoll = set
        timer = clock
    }

    deinit {
        _ = close(epoll)
        _ = close(timer)
    }

    var descriptor: FileDescriptor { FileDescriptor(rawValue: epoll) }

    /// Watches this descriptor, and none that was watched before; -1: none. If the kernel is short of memory, it is
    /// watched after the next call.
    mutating func follow(_ descriptor: CInt, reads: Bool, writes: Bool) {
        guard descriptor >= 0 else { return forget() }
        if descriptor == watched, (reads, writes) == direction { return }
        let result: CInt
        if descriptor == watched {
            result = nvmesys_epoll_change(epoll, descriptor, reads ? 1 : 0, writes ? 1 : 0)
        } else {
            forget()
            result = nvmesys_epoll_add(epoll, descriptor, reads ? 1 : 0, writes ? 1 : 0)
        }
        guard result >= 0 else { return }
        watched = descriptor
        direction = (reads, writes)
    }

    /// Before a descriptor is closed.
    mutating func forget() {
        if watched >= 0 { _ = nvmesys_epoll_remove(epoll, watched) }
        watched = -1
    }

    /// Time is up so many milliseconds from now, at least 1; what was set before counts no more.
    func wake(after milliseconds: Int) {
        _ = nvmesys_timer_set(timer, UInt32(clamping: max(1, milliseconds)))
    }

    /// Time is no longer up, or will not be.
    func rest() { _ = nvmesys_timer_set(timer, 0) }
}
