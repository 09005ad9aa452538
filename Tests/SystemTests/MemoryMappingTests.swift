import CLinux
import Glibc
import SystemPackage
import Testing

@testable import VFIOUserSystem

@Suite struct MemoryMappingTests {
    /// A file in memory.
    func file(_ size: Int) throws -> OwnedFD {
        let number = unsafe clx_memfd("mapping", 0)
        let file = OwnedFD(adopting: try number.orErrno())
        try #require(ftruncate(file.number, size) == 0)
        return file
    }

    /// Whether an address is mapped, which msync knows.
    func isMapped(_ address: UnsafeMutableRawPointer?) -> Bool { unsafe msync(address, 1, MS_ASYNC) == 0 }

    @Test func sharesTheFile() throws {
        let file = try file(8192)
        let mapping = try MemoryMapping(
            sharing: file.descriptor, offset: 4096, length: 4096, protection: PROT_READ | PROT_WRITE)
        #expect(mapping.length == 4096)
        let base = unsafe try #require(mapping.base)
        unsafe base.storeBytes(of: 0x5a, as: UInt8.self)
        var byte: UInt8 = 0
        try unsafe withUnsafeMutableBytes(of: &byte) {
            try unsafe file.descriptor.readFully(into: $0, at: 4096)
        }
        #expect(byte == 0x5a)
    }

    @Test func unmapsOnce() throws {
        var base: UnsafeMutableRawPointer?
        do {
            let mapping = try MemoryMapping(reserving: 1 << 20)
            unsafe base = mapping.base
            let mapped = unsafe isMapped(base)
            #expect(mapped)
        }
        let mapped = unsafe isMapped(base)
        #expect(!mapped)
    }

    @Test func reservedMemoryIsZero() throws {
        let mapping = try MemoryMapping(reserving: 1 << 32)
        let last = unsafe try #require(mapping.base) + ((1 << 32) - 1)
        #expect(unsafe last.load(as: UInt8.self) == 0)
    }

    @Test func mapsAgain() throws {
        let file = try file(4096)
        let first = try MemoryMapping(
            sharing: file.descriptor, offset: 0, length: 4096, protection: PROT_READ | PROT_WRITE)
        let base = unsafe try #require(first.base)
        let second = try unsafe MemoryMapping(again: base, length: 4096)
        let other = unsafe try #require(second.base)
        let differs = unsafe base != other
        #expect(differs)
        unsafe base.storeBytes(of: 7, as: UInt8.self)
        #expect(unsafe other.load(as: UInt8.self) == 7)
    }

    @Test func replacing() throws {
        let whole = try MemoryMapping(reserving: 3 * 4096)
        let base = unsafe try #require(whole.base)
        whole.release()
        var owner = unsafe MemoryMapping(adopting: base + 4096, length: 4096)
        owner.replace(with: unsafe MemoryMapping(adopting: base, length: 4096))
        owner.replace(with: unsafe MemoryMapping(adopting: base + 8192, length: 4096))
        let joined = unsafe owner.base == base && owner.length == 3 * 4096
        #expect(joined)
        let isStillMapped = unsafe isMapped(base)
        #expect(isStillMapped)
        owner.replace(with: try MemoryMapping(reserving: 1 << 30))
        // Even if the kernel put the new one right next to the old, that is one owner's.
        if owner.length == 1 << 30 {
            let isGone = unsafe !isMapped(base)
            #expect(isGone)
        }
        owner = MemoryMapping()
        let isEmpty = owner.isEmpty
        #expect(isEmpty)
    }

    @Test func refusals() throws {
        let file = try file(4096)
        func map(_ offset: UInt64, _ length: UInt64) -> Errno? {
            do {
                _ = try MemoryMapping(
                    sharing: file.descriptor, offset: offset, length: length, protection: PROT_READ)
                return nil
            } catch { return error }
        }
        #expect(map(1 << 63, 4096) == .overflow)
        #expect(map(0, UInt64.max) == .overflow)
        #expect(map(0, 0) == .invalidArgument)
        #expect(map(1, 4096) == .invalidArgument)
        #expect(map(0, 1 << 62) == .noMemory)
        #expect(map(0, 4096) == nil)
    }

    @Test func status() throws {
        let file = try file(12345)
        let status = try FileStatus(of: file.descriptor)
        #expect(status.size == 12345)
        #expect(status.hasContents)
        #expect(status.blockSize >= 4096)
        let other = try self.file(1)
        #expect(try FileStatus(of: other.descriptor).identity != status.identity)
        let same = try FileDescriptor.open(FilePath("/proc/self/fd/\(file.number)"), .readOnly)
        defer { try? same.close() }
        #expect(try FileStatus(of: same).identity == status.identity)
        let device = try FileDescriptor.open(FilePath("/dev/zero"), .readOnly)
        defer { try? device.close() }
        let deviceStatus = try FileStatus(of: device)
        #expect(deviceStatus.size == nil)
        #expect(!deviceStatus.hasContents)
        #expect(throws: Errno.badFileDescriptor) { _ = try FileStatus(of: FileDescriptor(rawValue: -1)) }
    }

    @Test func transfers() throws {
        let file = try file(0)
        let bytes: [UInt8] = [1, 2, 3]
        try unsafe bytes.withUnsafeBytes { try unsafe file.descriptor.writeFully($0, at: 5) }
        func read(_ offset: UInt64, _ count: Int) throws -> [UInt8] {
            var bytes = [UInt8](repeating: 9, count: count)
            try unsafe bytes.withUnsafeMutableBytes {
                try unsafe file.descriptor.readFully(into: $0, at: offset)
            }
            return bytes
        }
        #expect(try read(4, 4) == [0, 1, 2, 3])
        #expect(throws: Errno.noData) { _ = try read(7, 2) }
        #expect(throws: Errno.overflow) { _ = try read(UInt64(Int64.max), 1) }
        #expect(throws: Errno.overflow) { _ = try read(UInt64.max, 1) }
    }
}
