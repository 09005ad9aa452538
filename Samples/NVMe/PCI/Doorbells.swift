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
/// Unsafe inside: the mapping is one page, at the same address for as long as the object lives.
@safe
package final class DoorbellPage {
    package static let offset = 0x1000
    package static let byteCount = 0x1000
    /// Nil after a ``renew()`` that failed.
    package private(set) var file: FileDescriptor?
    let memory: UnsafeMutableRawPointer

    /// A page of zeros.
    ///
    /// - Throws: errors of `memfd_create` and `mmap`.
    init() throws(Errno) {
        let file = try Self.makeFile()
        do throws(Errno) { unsafe memory = try unsafe Self.map(file, at: nil) } catch {
            try? file.close()
            throw error
        }
        self.file = file
    }

    /// Puts another page of zeros in the place of this one, for the next client: an earlier one may have kept its mapping.
    /// Without a file, the page is nobody else's.
    ///
    /// - Throws: as the initializer. The page is then without a file; unless even that could not be mapped, when it is
    ///   the old one.
    func renew() throws(Errno) {
        // First of all, so that there is a descriptor left for the new file. No client can ask for it meanwhile.
        try? file?.close()
        file = nil
        // Over a mapping of its own, of the same length.
        _ = try unsafe Self.map(nil, at: memory)
        let file = try Self.makeFile()
        do throws(Errno) { _ = try unsafe Self.map(file, at: memory) } catch {
            try? file.close()
            throw error
        }
        self.file = file
    }

    private static func makeFile() throws(Errno) -> FileDescriptor {
        let number = unsafe nvmesys_memory_file("nvme-doorbells", Int64(offset + byteCount))
        guard number >= 0 else { throw Errno(rawValue: -number) }
        return FileDescriptor(rawValue: number)
    }

    /// Maps the page of a file, or one without a file, wherever there is room or over the mapping at an address.
    @unsafe
    private static func map(_ file: FileDescriptor?, at place: UnsafeMutableRawPointer?) throws(Errno)
        -> UnsafeMutableRawPointer
    {
        let kind = file == nil ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED
        let flags = unsafe place == nil ? kind : kind | MAP_FIXED
        let address = unsafe Glibc.mmap(
            place, byteCount, PROT_READ | PROT_WRITE, flags, file?.rawValue ?? -1,
            file == nil ? 0 : off_t(offset))
        guard let address = unsafe address, unsafe address != MAP_FAILED else {
            throw Errno(rawValue: errno)
        }
        return unsafe address
    }

    deinit {
        _ = unsafe munmap(memory, Self.byteCount)
        try? file?.close()
    }
}
