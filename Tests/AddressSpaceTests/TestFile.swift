import Glibc
import SystemPackage
import Testing
import VFIOUserSystem

@testable import VFIOUserAddressSpace

/// A file in memory with a name of its own, so that its descriptors and mappings can be counted while other
/// tests run.
final class TestFile {
    let name: String
    private let owner: OwnedFD

    init(pages: Int) throws {
        name = "aspace-\(UInt64.random(in: 0...UInt64.max))"
        let path = FilePath("/dev/shm/\(name)")
        let file = try FileDescriptor.open(
            path, .readWrite, options: [.create, .exclusiveCreate, .closeOnExec], permissions: .ownerReadWrite
        )
        owner = OwnedFD(adopting: file.rawValue)
        _ = unsafe unlink(path.string)
        try #require(ftruncate(owner.number, pages * 4096) == 0)
    }

    /// A further descriptor, to give away.
    func descriptor() throws -> OwnedFD {
        OwnedFD(adopting: try owner.descriptor.duplicate().rawValue)
    }

    /// A further descriptor, opened anew with these flags.
    func opened(_ mode: FileDescriptor.AccessMode, _ options: FileDescriptor.OpenOptions = []) throws
        -> OwnedFD
    {
        let path = FilePath("/proc/self/fd/\(owner.number)")
        return OwnedFD(adopting: try FileDescriptor.open(path, mode, options: options).rawValue)
    }

    var bytes: FileDescriptor { owner.descriptor }

    /// A byte of the file; nil behind its end.
    func byte(at offset: Int) throws -> UInt8? {
        var byte: UInt8 = 0
        let count = try unsafe withUnsafeMutableBytes(of: &byte) {
            try unsafe owner.descriptor.read(fromAbsoluteOffset: Int64(offset), into: $0)
        }
        return count == 1 ? byte : nil
    }

    /// Descriptors of the file that this process has, without the owner's.
    func descriptorCount() throws -> Int {
        var count = 0
        for number in CInt(0)..<4096 {
            var buffer = [UInt8](repeating: 0, count: 256)
            let length = unsafe readlink("/proc/self/fd/\(number)", &buffer, buffer.count)
            if length > 0, String(decoding: buffer[..<length], as: UTF8.self).contains(name) { count += 1 }
        }
        return count - 1
    }

    /// Mappings of the file that this process has.
    func mappings() throws -> [String] {
        let maps = try FileDescriptor.open(FilePath("/proc/self/maps"), .readOnly)
        defer { try? maps.close() }
        var text: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = try unsafe buffer.withUnsafeMutableBytes { try unsafe maps.read(into: $0) }
            if count == 0 { break }
            text += buffer[..<count]
        }
        return String(decoding: text, as: UTF8.self).split(separator: "\n").filter { $0.contains(name) }
            .map(String.init)
    }
}

/// Calls a body that must throw, and returns what it threw.
func errno(_ body: () throws -> Void) -> Errno? {
    do {
        try body()
        return nil
    } catch { return error as? Errno }
}

extension IOASTable {
    /// A table in legacy mode.
    static func legacy(limit: Int = defaultLimit) throws -> IOASTable {
        let table = try IOASTable(limit: limit)
        table.beginLegacy()
        return table
    }

    /// DMA_MAP with a descriptor of a file, or none.
    @discardableResult
    func map(
        _ address: UInt64, _ size: UInt64, _ file: TestFile?, flags: UInt32 = 3, offset: UInt64 = 0
    ) throws -> Mapped {
        let request = LegacyMap(flags: flags, offset: offset, address: address, size: size)
        return try map(request, file?.descriptor())
    }

    /// Removes the mapping of exactly this range from the compatibility IOAS.
    func unmap(_ address: UInt64, _ size: UInt64) throws {
        let id = try #require(compatibilityID)
        remove(try mapping(in: id, exactly: address, size))
    }
}

/// What a translation gave.
struct Answer: Equatable, CustomStringConvertible {
    var count = 0
    var error: Errno?
    var pieces: [[UInt64]] = []
    var description: String { "\(count) \(String(describing: error)) \(pieces)" }
}

extension Translator {
    /// Translates into entries of our own.
    func entries(
        _ address: UInt64, _ length: UInt64, _ rights: AccessRights = .readWrite, capacity: Int = 8
    ) throws(Errno) -> (count: Int, entries: [SGEntry]) {
        var entries = [SGEntry](repeating: SGEntry(), count: max(capacity, 1))
        var count = 0
        var failure: Errno?
        unsafe entries.withUnsafeMutableBufferPointer { buffer in
            do throws(Errno) {
                count = try unsafe translate(
                    address, length, rights, into: buffer.baseAddress, capacity: capacity)
            } catch { failure = error }
        }
        if let failure { throw failure }
        return (count, Array(entries.prefix(count < 0 ? capacity : count)))
    }

    func answer(
        _ address: UInt64, _ length: UInt64, _ rights: AccessRights = .readWrite, capacity: Int = 8
    ) -> Answer {
        do {
            let (count, entries) = try entries(address, length, rights, capacity: capacity)
            return Answer(
                count: count, pieces: entries.map { [$0.base, $0.offset, $0.length, $0.writeable] })
        } catch { return Answer(error: error) }
    }

    /// The only entry of a range.
    func entry(_ address: UInt64, _ length: UInt64, _ rights: AccessRights = .readWrite) throws -> SGEntry {
        let (count, entries) = try entries(address, length, rights, capacity: 1)
        try #require(count == 1)
        return entries[0]
    }

    /// Ends the use of one entry.
    func put(_ entry: SGEntry) {
        unsafe withUnsafePointer(to: entry) { unsafe put($0, count: 1) }
    }

    /// A byte through the local address of an entry.
    func peek(_ entry: SGEntry) throws -> UInt8 {
        try unsafe localAddress(of: entry).load(as: UInt8.self)
    }
}
