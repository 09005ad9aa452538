import Glibc
import NVMeController
import NVMeStores
import SystemPackage
import Testing

/// A file that is gone with the object.
final class ScratchFile {
    let path: String

    /// - Parameter directory: `/dev/shm`: a file system that can make holes, but not zeros.
    init(byteCount: Int, directory: String = "/var/tmp") throws {
        let name = "\(directory)/nvme-store-\(getpid())-\(UInt64.random(in: 0...UInt64.max))"
        let file = try FileDescriptor.open(
            FilePath(name), .readWrite, options: [.create, .exclusiveCreate], permissions: .ownerReadWrite)
        path = name
        try file.closeAfter { try file.resize(to: Int64(byteCount)) }
    }

    func resize(to byteCount: Int) throws {
        let file = try FileDescriptor.open(FilePath(path), .readWrite)
        try file.closeAfter { try file.resize(to: Int64(byteCount)) }
    }

    /// Bytes it takes in the file system.
    func allocated() -> Int {
        var status = stat()
        // The call fills the structure.
        guard unsafe stat(path, &status) == 0 else { return -1 }
        return Int(status.st_blocks) * 512
    }

    func contents() throws -> [UInt8] {
        let file = try FileDescriptor.open(FilePath(path), .readOnly)
        return try file.closeAfter {
            let end = try file.seek(offset: 0, from: .end)
            return try unsafe [UInt8](unsafeUninitializedCapacity: Int(end)) { buffer, count in
                // The array's own memory.
                count = unsafe try file.read(
                    fromAbsoluteOffset: 0, into: UnsafeMutableRawBufferPointer(buffer))
            }
        }
    }

    deinit { _ = unsafe unlink(path) }
}

struct FileStoreTests {
    /// How a store works.
    struct Way: CustomTestStringConvertible, Sendable {
        var isDirect: Bool
        var isAsynchronous: Bool
        var directory = "/var/tmp"

        static let all = [
            Way(isDirect: true, isAsynchronous: true), Way(isDirect: false, isAsynchronous: true),
            Way(isDirect: true, isAsynchronous: false), Way(isDirect: false, isAsynchronous: false),
            Way(isDirect: true, isAsynchronous: true, directory: "/dev/shm"),
            Way(isDirect: true, isAsynchronous: false, directory: "/dev/shm"),
        ]
        var testDescription: String {
            "\(isDirect ? "direct" : "cached") \(isAsynchronous ? "ring" : "calls") \(directory)"
        }

        func open(_ file: ScratchFile) throws -> FileStore {
            let store = try FileStore(path: file.path, isDirect: isDirect, isAsynchronous: isAsynchronous)
            #expect(
                (store.completionDescriptor != nil) == isAsynchronous,
                "\(String(describing: store.ringFailure))")
            return store
        }
    }

    @Test(arguments: Way.all, [512, 4096])
    func `what is written is read, whatever the pieces`(way: Way, granule: Int) throws {
        let file = try ScratchFile(byteCount: 1 << 20, directory: way.directory)
        try playRandomly(
            StoreDriver(way.open(file)), rounds: 5, granule: granule, seed: UInt64.random(in: 0...UInt64.max))
    }

    @Test(arguments: Way.all)
    func `a store ends when its requests have`(way: Way) throws {
        let file = try ScratchFile(byteCount: 4 << 20, directory: way.directory)
        let bytes = pattern(4 << 20, seed: 1)
        let buffers = stride(from: 0, to: bytes.count, by: 65_536).map {
            Buffer(Array(bytes[$0..<$0 + 65_536]))
        }
        do {
            let driver = StoreDriver(try way.open(file))
            for (index, buffer) in buffers.enumerated() {
                driver.start(.write(isDurable: false), at: UInt64(index * 65_536), buffer)
            }
            driver.reap(wait: false)
        }
        #expect(try file.contents() == bytes)
    }

    @Test(.enabled(if: RamFile.isPossible, "needs a mount namespace"))
    func `a file system without O_DIRECT has the ring all the same`() throws {
        let file = try RamFile(byteCount: 1 << 20)
        #expect(try run("sh", "-c", "dd if=\(file.path) of=/dev/null iflag=direct 2>/dev/null") != 0)
        let store = try FileStore(path: file.path)
        #expect(store.ringFailure == nil && store.completionDescriptor != nil)
        try playRandomly(
            StoreDriver(store), rounds: 4, granule: 4096, seed: UInt64.random(in: 0...UInt64.max))
    }

    @Test
    func `more requests than the ring has room for wait`() throws {
        let file = try ScratchFile(byteCount: 8 << 20)
        let driver = StoreDriver(try FileStore(path: file.path))
        let buffers = (0..<2048).map { _ in Buffer([4096]) }
        for (index, buffer) in buffers.enumerated() { driver.start(.read, at: UInt64(index * 4096), buffer) }
        #expect(driver.store.pendingCount == 2048)
        driver.finish()
        #expect(driver.outcomes.count == 2048 && driver.outcomes.values.allSatisfy { $0 == nil })
        let zeros = [UInt8](repeating: 0, count: 4096)
        #expect(buffers.allSatisfy { $0.bytes == zeros })
    }

    @Test(arguments: Way.all)
    func `reads behind the end of a truncated file fail`(way: Way) throws {
        let file = try ScratchFile(byteCount: 1 << 20, directory: way.directory)
        let driver = StoreDriver(try way.open(file))
        #expect(driver.run(.write(isDurable: true), at: 0, Buffer(pattern(1 << 20, seed: 2))) == nil)
        try file.resize(to: 300_000)
        #expect(driver.run(.read, at: 524_288, Buffer([4096])) == .ioError)
        // The end is within it.
        #expect(driver.run(.read, at: 262_144, Buffer([16_384, 49_152])) == .ioError)
        #expect(try driver.read(at: 0, count: 262_144) == Array(pattern(1 << 20, seed: 2)[0..<262_144]))
    }

    @Test(arguments: Way.all)
    func `memory that has gone is an error`(way: Way) throws {
        let file = try ScratchFile(byteCount: 1 << 20, directory: way.directory)
        let driver = StoreDriver(try way.open(file))
        let buffer = Buffer([4096, 4096])
        buffer.refer(toNothing: 0)
        #expect(driver.run(.read, at: 0, buffer) == .badAddress)
        #expect(driver.run(.write(isDurable: false), at: 0, buffer) == .badAddress)
        #expect(driver.run(.flush) == nil)
    }

    @Test(arguments: Way.all)
    func `deallocated blocks take no room and read as zeros`(way: Way) throws {
        let file = try ScratchFile(byteCount: 4 << 20, directory: way.directory)
        let driver = StoreDriver(try way.open(file))
        #expect(driver.run(.write(isDurable: true), at: 0, Buffer(pattern(4 << 20, seed: 3))) == nil)
        let before = file.allocated()
        #expect(driver.run(.deallocate, at: 1 << 20, count: 2 << 20) == nil)
        #expect(driver.run(.flush) == nil)
        #expect(file.allocated() <= before - (2 << 20))
        #expect(driver.run(.writeZeroes(mayDeallocate: false), at: 4096, count: 700_416) == nil)
        var model = pattern(4 << 20, seed: 3)
        for range in [4096..<704_512, 1 << 20..<3 << 20] {
            model.replaceSubrange(range, with: repeatElement(0, count: range.count))
        }
        #expect(try driver.read(at: 0, count: 4 << 20) == model)
    }

    @Test(arguments: [true, false])
    func `a store that is not to be written to is not`(isAsynchronous: Bool) throws {
        let file = try ScratchFile(byteCount: 65_536)
        let store = try FileStore(path: file.path, isReadOnly: true, isAsynchronous: isAsynchronous)
        let driver = StoreDriver(store)
        #expect(store.isReadOnly && !store.hasVolatileCache)
        #expect(
            driver.run(.write(isDurable: false), at: 0, Buffer(pattern(4096, seed: 4))) == .badFileDescriptor)
        #expect(driver.run(.deallocate, at: 0, count: 4096) == .badFileDescriptor)
        #expect(driver.run(.flush) == nil)
        #expect(try driver.read(at: 0, count: 4096) == [UInt8](repeating: 0, count: 4096))
    }

    @Test
    func `a writer is alone, readers are not`() throws {
        let file = try ScratchFile(byteCount: 4096)
        do {
            let writer = try FileStore(path: file.path)
            #expect(throws: Errno.wouldBlock) { try FileStore(path: file.path) }
            #expect(throws: Errno.wouldBlock) { try FileStore(path: file.path, isReadOnly: true) }
            withExtendedLifetime(writer) {}
        }
        let readers = [
            try FileStore(path: file.path, isReadOnly: true),
            try FileStore(path: file.path, isReadOnly: true),
        ]
        #expect(throws: Errno.wouldBlock) { try FileStore(path: file.path) }
        withExtendedLifetime(readers) {}
    }

    @Test
    func `what is no file with blocks in it is refused`() throws {
        #expect(throws: Errno.noSuchFileOrDirectory) { try FileStore(path: "/nowhere/at/all") }
        #expect(throws: Errno.isDirectory) { try FileStore(path: "/tmp") }
        #expect(throws: Errno.operationNotSupportedByDevice) { try FileStore(path: "/dev/null") }
        let empty = try ScratchFile(byteCount: 0)
        #expect(throws: Errno.invalidArgument) { try FileStore(path: empty.path) }
    }

    @Test(arguments: [true, false])
    func `ranges that no file has are refused`(isAsynchronous: Bool) throws {
        let file = try ScratchFile(byteCount: 4096)
        let driver = StoreDriver(try FileStore(path: file.path, isAsynchronous: isAsynchronous))
        #expect(driver.run(.read, at: .max - 4095, Buffer([4096])) == .invalidArgument)
        #expect(driver.run(.deallocate, at: 1 << 62, count: 1 << 63) == .invalidArgument)
    }
}
