internal import CLinux
internal import Glibc
internal import SystemPackage
internal import VFIOUserSystem

/// The kinds of interrupts of a PCI device (VFIO_PCI_*_IRQ_INDEX).
public enum InterruptKind: UInt32, CaseIterable, Sendable {
    case intx, msi, msix, error, request
}

/// The eventfds through which interrupts reach the client.
///
/// INTx, MSI and MSI-X share one table of vectors, since a device uses one kind at a time; error and request have one of
/// the same size each behind it. The table owns its descriptors.
///
/// Unsafe inside: the slots are raw memory so that a trigger is one load and one system call. `count` bounds every access.
@safe final class InterruptTable {
    private var slots: UnsafeMutablePointer<CInt>
    /// Vectors that INTx, MSI and MSI-X share; also those of error and of request, of which no device has many.
    private(set) var count: Int
    /// Vectors that have one.
    private var eventFDCount = 0

    private static let tables = 3
    /// More shared vectors than this there cannot be: far above what PCI has, far below what would take time to go through.
    static let largestCount = 1 << 20

    init(count: Int) {
        self.count = count
        unsafe slots = .allocate(capacity: Self.tables * count)
        unsafe slots.initialize(repeating: -1, count: Self.tables * count)
    }

    deinit {
        closeAll()
        unsafe slots.deallocate()
    }

    /// Starts anew with so many shared vectors.
    func reset(count: Int) {
        closeAll()
        unsafe slots.deallocate()
        self.count = count
        unsafe slots = .allocate(capacity: Self.tables * count)
        unsafe slots.initialize(repeating: -1, count: Self.tables * count)
    }

    /// Where the vectors of a kind begin in the table.
    private func base(of kind: InterruptKind) -> Int {
        switch kind {
        case .intx, .msi, .msix: 0
        case .error: count
        case .request: 2 * count
        }
    }

    /// Whether a descriptor can be written to without harm: a pipe or a socket whose other end is closed would end the
    /// process by SIGPIPE.
    static func canSignal(_ number: CInt) -> Bool {
        var status = stat()
        // The structure is the call's to fill.
        guard unsafe fstat(number, &status) == 0 else { return false }
        let type = status.st_mode & S_IFMT
        return type != S_IFIFO && type != S_IFSOCK
    }

    /// Gives vector `index` an eventfd, or none, closing the one it had. Out of range: the eventfd is closed.
    func set(_ kind: InterruptKind, _ index: Int, _ eventFD: consuming OwnedFD?) {
        let slot = base(of: kind) + index
        guard index >= 0, index < count else { return }
        let old = unsafe slots[slot]
        switch consume eventFD {
        case .some(let descriptor):
            unsafe slots[slot] = descriptor.release()
            eventFDCount += 1
        case .none: unsafe slots[slot] = -1
        }
        guard old >= 0 else { return }
        eventFDCount -= 1
        _ = close(old)
    }

    /// Adds 1 to the eventfd of a vector.
    ///
    /// - Throws: `EINVAL` out of range, `ENOENT` no eventfd, otherwise the error of the write.
    func trigger(_ kind: InterruptKind, _ index: Int) throws(Errno) {
        let slot = base(of: kind) + index
        guard index >= 0, index < count else { throw .invalidArgument }
        let result = clx_signal(try eventFD(in: slot))
        if result < 0 { throw Errno(rawValue: -result) }
    }

    /// The eventfd of a shared vector. Throws as ``trigger(_:_:)``.
    @inline(__always)
    func eventFD(of vector: UInt32) throws(Errno) -> CInt {
        guard vector < count else { throw .invalidArgument }
        return try eventFD(in: Int(vector))
    }

    @inline(__always)
    private func eventFD(in slot: Int) throws(Errno) -> CInt {
        let eventFD = unsafe slots[slot]
        guard eventFD >= 0 else { throw .noSuchFileOrDirectory }
        return eventFD
    }

    /// Takes back what the eventfd of a shared vector counts, if the client has not read it; whether it had not.
    func withdraw(_ vector: UInt32) -> Bool {
        guard vector < count, unsafe slots[Int(vector)] >= 0 else { return false }
        return unsafe clx_take_event(slots[Int(vector)]) == 0
    }

    /// Takes all eventfds away.
    func closeAll() {
        guard eventFDCount > 0 else { return }
        eventFDCount = 0
        for slot in 0..<Self.tables * count where unsafe slots[slot] >= 0 {
            _ = unsafe close(slots[slot])
            unsafe slots[slot] = -1
        }
    }
}
