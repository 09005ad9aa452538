internal import CNVMeSystem
internal import Glibc
internal import SystemPackage

/// An io_uring for the two descriptors of one file.
///
/// Unsafe inside: the ring lives as long as its owner; what operations point to stays in place until they complete.
@safe
struct Ring: ~Copyable {
    private let ring: OpaquePointer?
    /// Why there is none.
    let failure: Errno?

    /// A ring of which ``isOpen`` says whether the kernel allowed it: containers and old kernels do not.
    init(_ file: borrowing StoreFile, capacity: UInt32) {
        var opened: OpaquePointer?
        // Two numbers, which are only read.
        let result = unsafe nvmesys_ring_open(&opened, capacity, [file.cached, file.direct])
        unsafe ring = unsafe opened
        failure = result == 0 ? nil : Errno(rawValue: -result)
    }

    /// None, on purpose.
    init() {
        unsafe ring = nil
        failure = nil
    }

    deinit { if let ring = unsafe ring { unsafe nvmesys_ring_close(ring) } }

    var isOpen: Bool { unsafe ring != nil }
    var descriptor: FileDescriptor? {
        unsafe ring.map { unsafe FileDescriptor(rawValue: nvmesys_ring_descriptor($0)) }
    }
    /// Operations that can be with the kernel at once.
    var capacity: Int { unsafe ring.map { unsafe Int(nvmesys_ring_capacity($0)) } ?? 0 }

    /// Takes an operation down, if there is room.
    func add(_ operation: inout nvmesys_operation, _ data: UnsafeMutableRawPointer) -> Bool {
        guard let ring = unsafe ring else { return false }
        return unsafe nvmesys_ring_add(ring, &operation, data) == 1
    }

    /// Gives the kernel what was taken down; `wait`: and waits until something is complete.
    ///
    /// - Returns: `false` if the kernel is short of something.
    func submit(wait: Bool) -> Bool {
        guard let ring = unsafe ring else { return false }
        let result = unsafe nvmesys_ring_submit(ring, wait ? 1 : 0)
        return result >= 0 || result == -EINTR
    }

    /// Takes a completion, if there is one.
    func next() -> (data: UnsafeMutableRawPointer, result: Int)? {
        guard let ring = unsafe ring else { return nil }
        var data: UnsafeMutableRawPointer?
        var result: CInt = 0
        guard unsafe nvmesys_ring_next(ring, &data, &result) == 1, let data = unsafe data else { return nil }
        return unsafe (data, Int(result))
    }
}
