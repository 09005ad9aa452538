import Glibc
import SystemPackage

/// A file of the fake server, looked at with `pread`.
struct DMAFile: Sendable {
    private final class Owner: Sendable {
        let number: CInt
        init(_ number: CInt) { self.number = number }
        deinit { _ = close(number) }
    }

    let number: CInt
    private let owner: Owner?

    /// A file of zeros (O_TMPFILE, whose macro Swift does not see).
    init(count: Int) throws {
        number = try FileDescriptor.open(
            "/dev/shm", .readWrite, options: FileDescriptor.OpenOptions(rawValue: 0o20200000),
            permissions: .ownerReadWrite
        ).rawValue
        owner = Owner(number)
        guard ftruncate(number, count) == 0 else { throw Errno(rawValue: errno) }
    }

    /// Someone else's descriptor.
    init(borrowing number: CInt) {
        self.number = number
        owner = nil
    }

    /// Bytes of the file.
    func memory(_ offset: Int, _ count: Int) -> [UInt8] {
        // As many bytes as there is room for.
        unsafe Array(unsafeUninitializedCapacity: count) { target, initialised in
            initialised = unsafe max(0, pread(number, target.baseAddress, count, offset))
        }
    }
}
