import CLinux
import Glibc
import SystemPackage
import VFIOUserAddressSpace
import VFIOUserSystem

/// Bytes of a page.
let page: UInt64 = 4096

/// A file like a guest's memory.
final class GuestFile {
    private let file: OwnedFD

    init(pages: Int) throws {
        file = OwnedFD(adopting: try clx_memfd("benchmark", 0).orErrno())
        guard ftruncate(file.number, pages * Int(page)) == 0 else { throw Errno(rawValue: errno) }
    }

    /// A further descriptor, to give away.
    func descriptor() throws -> OwnedFD { OwnedFD(adopting: try file.descriptor.duplicate().rawValue) }
}

/// A table with one attached address space that holds pages of a file, with a gap behind every other.
final class Space {
    let table: IOASTable
    let id: UInt32
    let file: GuestFile
    let pages: Int

    init(pages: Int) throws {
        self.pages = pages
        // One more for what comes and goes.
        file = try GuestFile(pages: pages + 1)
        table = try IOASTable()
        table.beginIOAS()
        id = try table.allocate()
        try table.attach(id)
        for number in 0..<pages { try map(number) }
    }

    static func iova(_ number: Int) -> UInt64 { 1 << 32 + UInt64(number) * 3 / 2 * page }

    func map(_ number: Int) throws {
        let request = IOASMap(
            ioas: id, rights: .readWrite, length: page, offset: UInt64(number) * page,
            placement: .fixed(Self.iova(number)))
        _ = try table.map(request, file.descriptor())
    }

    func unmap(_ number: Int) throws {
        table.remove(try table.mapping(in: id, exactly: Self.iova(number), page))
    }
}
