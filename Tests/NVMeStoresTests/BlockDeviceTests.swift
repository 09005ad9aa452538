import Glibc
import NVMeController
import NVMeStores
import SystemPackage
import Testing

/// A block device that is a file.
final class LoopDevice {
    let path: String
    private let file: ScratchFile

    /// Whether this process may make one.
    static let isPossible = geteuid() == 0 && (try? LoopDevice(byteCount: 4096)) != nil

    init(byteCount: Int) throws {
        file = try ScratchFile(byteCount: byteCount)
        for number in 0..<64 where try run("losetup", "/dev/loop\(number)", file.path) == 0 {
            path = "/dev/loop\(number)"
            return
        }
        throw Errno.noSuchAddressOrDevice
    }

    deinit { _ = try? run("losetup", "--detach", path) }
}

@Suite(.serialized, .enabled(if: LoopDevice.isPossible, "needs a loop device"))
struct BlockDeviceTests {
    @Test(arguments: [true, false])
    func `what is written is read`(isAsynchronous: Bool) throws {
        let device = try LoopDevice(byteCount: 1 << 20)
        let store = try FileStore(path: device.path, isAsynchronous: isAsynchronous)
        #expect(store.byteCount == 1 << 20 && !store.zeroesWhenDeallocated)
        let driver = StoreDriver(store)
        try playRandomly(driver, rounds: 4, granule: 512, seed: UInt64.random(in: 0...UInt64.max))
        // Whatever it then reads as.
        #expect(driver.run(.deallocate, at: 65_536, count: 131_072) == nil)
        #expect(driver.run(.flush) == nil)
    }

    @Test
    func `its end is an error`() throws {
        let device = try LoopDevice(byteCount: 1 << 20)
        let driver = StoreDriver(try FileStore(path: device.path))
        #expect(driver.run(.read, at: 1 << 20, Buffer([4096])) == .ioError)
        #expect(driver.run(.write(isDurable: true), at: 1 << 20, Buffer([4096])) == .noSpace)
    }

    @Test
    func `it is used by nobody else`() throws {
        let device = try LoopDevice(byteCount: 8 << 20)
        do {
            let store = try FileStore(path: device.path)
            #expect(throws: Errno.wouldBlock) { try FileStore(path: device.path) }
            withExtendedLifetime(store) {}
        }
        let exclusively = FileDescriptor.OpenOptions(rawValue: O_EXCL)
        let file = try FileDescriptor.open(FilePath(device.path), .readWrite, options: exclusively)
        // As a mounted file system has it.
        #expect(throws: Errno.resourceBusy) { try FileStore(path: device.path) }
        try file.close()
    }
}
