import CLinux
import Glibc
import SystemPackage
import Testing

@testable import VFIOUserSystem

/// Owners of descriptors and mappings, and file transfers.
@Suite struct SystemTests {
    static func memfd(_ size: Int) throws -> OwnedFD {
        let file = OwnedFD(adopting: try unsafe clx_memfd("system", 0).orErrno())
        guard ftruncate(file.number, size) == 0 else { throw Errno(rawValue: errno) }
        return file
    }

    /// Both ends of a pipe; the writing end tells by the reading one whether it is closed.
    static func pipe() throws -> (CInt, CInt) {
        var ends: [2 of CInt] = [-1, -1]
        var span = ends.mutableSpan
        // The call fills both elements.
        guard unsafe span.withUnsafeMutableBufferPointer({ unsafe Glibc.pipe($0.baseAddress) }) == 0 else {
            throw Errno(rawValue: errno)
        }
        return (ends[0], ends[1])
    }

    static func isHungUp(_ reading: CInt) -> Bool {
        var waiting = pollfd(fd: reading, events: Int16(POLLIN), revents: 0)
        // One entry, as said.
        return unsafe poll(&waiting, 1, 0) == 1 && waiting.revents == Int16(POLLHUP)
    }

    @Test func ownerCloses() throws {
        let (reading, writing) = try Self.pipe()
        let reader = OwnedFD(adopting: reading)
        do {
            let owner = OwnedFD(adopting: writing)
            #expect(owner.descriptor.rawValue == writing && !Self.isHungUp(reader.number))
        }
        #expect(Self.isHungUp(reader.number))
    }

    @Test func releasedIsNotClosed() throws {
        let (reading, writing) = try Self.pipe()
        let reader = OwnedFD(adopting: reading)
        let number = OwnedFD(adopting: writing).release()
        #expect(number == writing && !Self.isHungUp(reader.number))
        _ = OwnedFD(adopting: number)
        #expect(Self.isHungUp(reader.number))
    }

    @Test func results() throws {
        #expect(try CInt(0).orErrno() == 0 && CInt(7).orErrno() == 7)
        #expect(throws: Errno.ioError) { try CInt(-EIO).orErrno() }
    }

    @Test func transfers() throws {
        let file = try Self.memfd(100)
        let bytes = [UInt8](1...50)
        try unsafe bytes.withUnsafeBytes { try unsafe file.descriptor.writeFully($0, at: 80) }
        var back = [UInt8](repeating: 0, count: 50)
        try unsafe back.withUnsafeMutableBytes { try unsafe file.descriptor.readFully(into: $0, at: 80) }
        #expect(back == bytes)
        #expect(throws: Errno(rawValue: ENODATA)) {
            try unsafe back.withUnsafeMutableBytes { try unsafe file.descriptor.readFully(into: $0, at: 81) }
        }
        #expect(throws: (any Error).self) {
            try unsafe back.withUnsafeMutableBytes {
                try unsafe file.descriptor.readFully(into: $0, at: UInt64.max - 10)
            }
        }
        let (reading, writing) = try Self.pipe()
        let ends = [File(reading), File(writing)]
        #expect(throws: Errno.illegalSeek) {
            try unsafe bytes.withUnsafeBytes {
                try unsafe FileDescriptor(rawValue: ends[1].number).writeFully($0, at: 0)
            }
        }
    }

    /// A descriptor in an array.
    final class File {
        private let owner: OwnedFD
        init(_ number: CInt) { owner = OwnedFD(adopting: number) }
        var number: CInt { owner.number }
    }

    @Test func status() throws {
        let one = try Self.memfd(12_345)
        let other = try Self.memfd(1)
        let same = OwnedFD(adopting: dup(one.number))
        let status = try FileStatus(of: one.descriptor)
        #expect(status.size == 12_345 && status.hasContents && status.blockSize >= 512)
        #expect(try FileStatus(of: same.descriptor).identity == status.identity)
        #expect(try FileStatus(of: other.descriptor).identity != status.identity)
        let (reading, writing) = try Self.pipe()
        let ends = [File(reading), File(writing)]
        let pipe = try FileStatus(of: FileDescriptor(rawValue: ends[0].number))
        #expect(pipe.size == nil && !pipe.hasContents)
        #expect(throws: Errno.badFileDescriptor) { try FileStatus(of: FileDescriptor(rawValue: 99_999)) }
        #expect(try FileStatus.of(nil) == nil)
    }

    @Test func mappings() throws {
        let page = Int(systemPageSize)
        #expect(page.nonzeroBitCount == 1)
        let file = try Self.memfd(2 * page)
        do {
            let mapping = try MemoryMapping(
                sharing: file.descriptor, offset: systemPageSize, length: systemPageSize,
                protection: PROT_READ | PROT_WRITE)
            #expect(mapping.length == page)
            // The first byte of a page that is mapped for writing.
            unsafe mapping.base?.storeBytes(of: 42, as: UInt8.self)
            var byte = [UInt8](repeating: 0, count: 1)
            try unsafe byte.withUnsafeMutableBytes {
                try unsafe file.descriptor.readFully(into: $0, at: systemPageSize)
            }
            #expect(byte == [42])
        }
        #expect(throws: Errno.overflow) {
            _ = try MemoryMapping(sharing: file.descriptor, offset: 0, length: .max, protection: PROT_READ)
        }
        #expect(throws: Errno.invalidArgument) {
            _ = try MemoryMapping(sharing: file.descriptor, offset: 0, length: 0, protection: PROT_READ)
        }
        #expect(throws: (any Error).self) {
            _ = try MemoryMapping(
                sharing: file.descriptor, offset: .max - systemPageSize + 1, length: systemPageSize,
                protection: PROT_READ)
        }
        let reserved = try MemoryMapping(reserving: 1 << 30)
        #expect(unsafe reserved.base?.load(fromByteOffset: 1 << 29, as: UInt64.self) == 0)
    }
}
