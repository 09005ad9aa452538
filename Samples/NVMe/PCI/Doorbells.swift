internal import CNVMeSystem
internal import Glibc
package import SystemPackage

/// How the client's doorbell writes reach the controller.
package enum DoorbellMode: String, CaseIterable {
    /// The client maps the page and writes to it; the controller looks.
    case mmap
    /// By messages.
    case trap
    /// By eventfds, with the values in a shared page.
    case ioeventfd
}

/// The file behind BAR0, of which only the page of doorbells is used, mapped into this process.
///
/// Unsafe inside: the mapping is one page for as long as the object lives.
@safe
package final class DoorbellPage {
    package static let offset = 0x1000
    package static let byteCount = 0x1000
    package let file: FileDescriptor
    let memory: UnsafeMutableRawPointer

    /// A page of zeros.
    ///
    /// - Throws: errors of `memfd_create` and `mmap`.
    init() throws(Errno) {
        let number = unsafe nvmesys_memory_file("nvme-doorbells", Int64(Self.offset + Self.byteCount))
        guard number >= 0 else { throw Errno(rawValue: -number) }
        file = FileDescriptor(rawValue: number)
        let address = unsafe Glibc.mmap(
            nil, Self.byteCount, PROT_READ | PROT_WRITE, MAP_SHARED, number, off_t(Self.offset))
        guard let address = unsafe address, unsafe address != MAP_FAILED else {
            _ = Glibc.close(number)
            throw Errno(rawValue: errno)
        }
        unsafe memory = unsafe address
    }

    deinit {
        _ = unsafe munmap(memory, Self.byteCount)
        try? file.close()
    }
}
