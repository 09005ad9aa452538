internal import CLinux
internal import Glibc
package import SystemPackage

/// The size of a page of memory in bytes: a power of two, the same for the life of the process.
package let systemPageSize: UInt64 = UInt64(clamping: sysconf(CInt(_SC_PAGESIZE)))

/// A range of this process's address space that is unmapped exactly once, when its owner goes.
///
/// The empty mapping (no base, length 0) owns nothing.
@safe
package struct MemoryMapping: ~Copyable {
    /// The first byte, or nil of the empty mapping; valid while the owner lives.
    package private(set) var base: UnsafeMutableRawPointer?
    /// Bytes mapped.
    package private(set) var length: Int

    /// Whether nothing is mapped.
    package var isEmpty: Bool { unsafe base == nil }

    /// Takes ownership of a range that mmap returned.
    @unsafe
    package init(adopting base: UnsafeMutableRawPointer?, length: Int) {
        unsafe self.base = base
        self.length = length
    }

    /// Maps part of a file, shared with everyone who maps it, left out of core dumps.
    ///
    /// `offset` must be a multiple of the page size. It is mapped at `place`, an address that is one, if nothing
    /// is there. Throws mmap's errno, `EOVERFLOW` for an offset or a length that no file can have.
    package init(
        sharing file: FileDescriptor, offset: UInt64, length: UInt64, protection: CInt, at place: UInt = 0
    ) throws(Errno) {
        guard let size = Int(exactly: length) else { throw .overflow }
        // The place is only a wish, so nothing that is already mapped can be replaced.
        let wish = unsafe UnsafeMutableRawPointer(bitPattern: place)
        try unsafe self.init(clx_map_shared(file.rawValue, offset, size, protection, wish), length: size)
    }

    /// Maps what comes next in the file of a shared mapping that ends at `place`, by making that mapping larger: one
    /// mapping for the kernel, another for its owner here. It costs less than half of a new one that the kernel joins.
    ///
    /// Throws mremap's errno.
    @unsafe
    package init(after place: UInt, length: UInt64) throws(Errno) {
        guard let size = Int(exactly: length) else { throw .overflow }
        try unsafe self.init(clx_map_more(UnsafeMutableRawPointer(bitPattern: place), size), length: size)
    }

    /// Reserves zeroed private memory that costs nothing until it is touched.
    package init(reserving length: Int) throws(Errno) {
        try unsafe self.init(clx_map_reserved(length), length: length)
    }

    /// Maps the pages of a shared mapping a second time: at an address where nothing is mapped, or (nil) anywhere.
    /// `length` is that mapping's length. Throws `EEXIST` if something is there, mremap's errno.
    @unsafe
    package init(
        again base: UnsafeMutableRawPointer, length: Int, at address: UnsafeMutableRawPointer? = nil
    ) throws(Errno) {
        try unsafe self.init(clx_map_again(base, length, address), length: length)
    }

    private init(_ result: clx_mapped, length: Int) throws(Errno) {
        guard let base = unsafe result.base else { throw Errno(rawValue: unsafe -result.error) }
        unsafe self.init(adopting: base, length: length)
    }

    /// The empty mapping.
    package init() { unsafe self.init(adopting: nil, length: 0) }

    /// Takes over another mapping: what was owned so far is unmapped, unless the two touch; then one call
    /// unmaps both, later.
    package mutating func replace(with other: consuming MemoryMapping) {
        if let base = unsafe base, let next = unsafe other.base {
            let first = unsafe min(base, next)
            let touches = unsafe base + length == next || next + other.length == base
            if touches {
                unsafe self.base = first
                length += other.length
                other.release()
                return
            }
        }
        self = other
    }

    /// Gives the range up without unmapping it.
    package consuming func release() { discard self }

    deinit {
        // The range is this owner's alone, so nothing else points into it.
        if let base = unsafe base { unsafe UnmapBacklog.unmap(base, length) }
    }
}
