import SystemPackage
import Testing

@testable import VFIOUserPCI

@Suite struct ConfigSpaceTests {
    @Test(
        arguments: [(.conventional, 256), (.pciX1, 256), (.pciX2, 4096), (.express, 4096)] as [(PCIKind, Int)]
    )
    func sizeOfEachKind(kind: PCIKind, size: Int) {
        let space = ConfigSpace(kind: kind)
        #expect(space.size == size)
        #expect(space.kind == kind)
        #expect(space.snapshot == [UInt8](repeating: 0, count: size))
    }

    @Test(arguments: [(0, 256), (-1, 256), (1, 256), (256, 256), (257, 4096), (4096, 4096), (Int.max, 4096)])
    func sizeOfAPlainRegion(regionSize: Int, size: Int) {
        let space = ConfigSpace(regionSize: regionSize)
        #expect(space.size == size)
        #expect(space.errorAdding(Data.serial, .extended) == .invalidArgument, "conventional")
    }

    @Test func identity() {
        let space = ConfigSpace(kind: .conventional)
        space.setIdentity(
            PCIIdentity(vendor: 0x1234, device: 0x5678, subsystemVendor: 0x9abc, subsystem: 0xdef0))
        space.setClass(PCIClass(base: 3, sub: 2, programmingInterface: 1))
        space.setRevision(0x42)
        #expect(space.clientRead(4, at: 0).bytes == [0x34, 0x12, 0x78, 0x56])
        #expect(space.clientRead(4, at: 0x2c).bytes == [0xbc, 0x9a, 0xf0, 0xde])
        #expect(space.clientRead(4, at: 8).bytes == [0x42, 1, 2, 3])
        #expect(space.storage.load8(at: 0x0e) == 0, "header type")
    }

    @Test func realizeWithoutAnything() {
        let space = ConfigSpace(regionSize: 0)
        space.realize(intxCount: 0)
        var expected = [UInt8](repeating: 0, count: 256)
        for bar in 0..<6 { expected[0x10 + 4 * bar] = 1 }
        #expect(space.snapshot == expected)
    }

    @Test func interruptPin() {
        let space = ConfigSpace(kind: .conventional)
        space.realize(intxCount: 1)
        #expect(space.storage.load8(at: 0x3d) == 1)
    }

    @Test func statusBitOfCapabilities() throws {
        let space = ConfigSpace(kind: .express)
        try space.add(Data.powerManagement)
        space.realize(intxCount: 0)
        #expect(space.storage.load16(at: 6) == 0x0010)

        let late = ConfigSpace(kind: .express)
        try late.add(Data.serial, .extended)
        late.realize(intxCount: 0)
        #expect(late.storage.load16(at: 6) == 0, "extended capabilities do not count")
        try late.add(Data.powerManagement)
        #expect(late.storage.load16(at: 6) == 0, "nor do late ones")
    }

    @Test func pointerIsLiveAndStable() throws {
        let space = ConfigSpace(kind: .express)
        let bytes = unsafe space.unsafeBytes
        #expect(bytes.count == 4096)
        unsafe bytes[0x40] = 0x5a
        #expect(space.clientRead(1, at: 0x40).bytes == [0x5a])
        try space.add(Data.powerManagement, at: 0x80)
        space.setClass(.nvme)
        #expect(unsafe bytes[0x80] == 0x01)
        #expect(unsafe bytes[0x0b] == 0x01)
        #expect(unsafe space.unsafeBytes.baseAddress == bytes.baseAddress)
    }

    // MARK: Routing

    @Test func readsNeedOneSegmentWithoutACallback() throws {
        let space = ConfigSpace(kind: .express)
        try space.add(Data.vendor(16), at: 0x60)
        let segment = space.segment(at: 0, remaining: 4096, write: false)
        #expect(segment == ConfigSpace.Segment(offset: 0, length: 4096, handler: .memory))
    }

    @Test func callbackGetsWhatIsNeitherHeaderNorCapability() throws {
        let space = ConfigSpace(kind: .conventional)
        space.hasCallback = true
        try space.add(Data.vendor(8), at: 0x80)
        try space.add(Data.vendor(8), at: 0x50)
        let read = space.clientRead(256, at: 0)
        #expect(read.bytes == space.snapshot)
        #expect(read.outcome.callbacks == [0x40..<0x50, 0x58..<0x80, 0x88..<0x100])
        let write = space.clientWrite([UInt8](repeating: 1, count: 0x13), at: 0x40)
        #expect(write == Outcome(error: .notPermitted, callbacks: [0x40..<0x50]), "then the header of one")
        let tail = space.clientWrite([UInt8](repeating: 1, count: 10), at: 0x53)
        #expect(tail == Outcome(callbacks: [0x58..<0x5d]))
    }

    @Test func withoutACallbackOtherSpaceIsReadOnly() throws {
        let space = ConfigSpace(kind: .conventional)
        try space.add(Data.vendor(8), at: 0x50)
        #expect(space.clientWrite([1], at: 0x40) == .failed(.invalidArgument))
        #expect(space.clientWrite([1, 2], at: 0x57) == .failed(.invalidArgument))
        #expect(space.storage.load16(at: 0x57) == 1, "the part in the capability is done")
        space.storage.store8(9, at: 0x40)
        #expect(space.clientRead(1, at: 0x40).bytes == [9])
    }

    /// The server asks again behind what a callback took.
    @Test func shortCallbacksGoOn() {
        let space = ConfigSpace(kind: .conventional)
        space.hasCallback = true
        let first = space.segment(at: 0x3e, remaining: 10, write: false)
        #expect(first == ConfigSpace.Segment(offset: 0x3e, length: 2, handler: .memory))
        #expect(space.segment(at: 0x40, remaining: 8, write: false).length == 8)
        let rest = space.segment(at: 0x43, remaining: 5, write: false)
        #expect(rest == ConfigSpace.Segment(offset: 0x43, length: 5, handler: .callback))
    }

    @Test(
        arguments: [Int.min, -4096, -1, 256, 257, 4096, Int.max - 1, Int.max],
        [Int.min, -1, 1, 4, 4096, Int.max])
    func outsideOfConfigSpace(offset: Int, remaining: Int) {
        for write in [false, true] {
            for hasCallback in [false, true] {
                let space = ConfigSpace(kind: .conventional)
                space.hasCallback = hasCallback
                let segment = space.segment(at: offset, remaining: remaining, write: write)
                #expect(segment.handler == .refused(.invalidArgument))
                #expect(segment.length == max(remaining, 0))
            }
        }
    }

    @Test(arguments: [0, 1, 0x3f, 0x40, 0xfc, 0xff])
    func segmentsEndWithConfigSpace(offset: Int) {
        let space = ConfigSpace(kind: .conventional)
        #expect(space.segment(at: offset, remaining: .max, write: false).length == 256 - offset)
        let read = space.clientRead(300, at: offset)
        #expect(read.outcome == .failed(.invalidArgument))
        #expect(read.bytes.count == 256 - offset)
        space.hasCallback = true
        #expect(space.segment(at: 0x40, remaining: .max, write: true).length == 192)
    }

    @Test(arguments: [0, 1, 0x40, 256])
    func accessOfNoBytes(offset: Int) {
        let space = ConfigSpace(kind: .conventional)
        for write in [false, true] {
            let segment = space.segment(at: offset, remaining: 0, write: write)
            #expect(segment == ConfigSpace.Segment(offset: offset, length: 0, handler: .memory))
        }
    }

    @Test func writeChecksItsBytes() throws {
        let space = ConfigSpace(kind: .conventional)
        try space.add(Data.vendor(8), at: 0x50)
        let before = space.snapshot
        let three: [UInt8] = [1, 2, 3]
        for (offset, remaining) in [
            (0x10, 4), (0x0c, 1), (0x53, 4), (0x53, 2), (0x51, 3), (0x40, 3), (0x00, 3),
        ] {
            let segment = space.segment(at: offset, remaining: remaining, write: true)
            #expect(throws: Errno.self) { try unsafe space.write(segment, from: three.span.bytes) }
        }
        let read = space.segment(at: 0x53, remaining: 3, write: false)
        #expect(throws: Errno.invalidArgument) { try unsafe space.write(read, from: three.span.bytes) }
        #expect(space.snapshot == before)
    }

    /// Segments are plain values: one made for another space, or kept, must not reach outside.
    @Test func segmentsOfAnotherSpace() throws {
        let large = ConfigSpace(kind: .express)
        try large.add(Data.extendedVendor(3000), .extended)
        let small = ConfigSpace(kind: .conventional)
        let before = small.snapshot
        let bytes = [UInt8](repeating: 0xff, count: 2000)
        let segment = large.segment(at: 0x200, remaining: 2000, write: true)
        #expect(segment.length == 2000)
        #expect(try unsafe small.write(segment, from: bytes.span.bytes) == .none)
        #expect(small.snapshot == before)
        let reading = large.segment(at: 0xf8, remaining: 2000, write: false)
        let read = output(capacity: 2000) { _ = small.read(reading, into: &$0) }
        #expect(read == [UInt8](repeating: 0, count: 8))
    }

    @Test func readsIntoOutputs() {
        let space = ConfigSpace(kind: .conventional)
        for offset in 0..<256 { space.storage.store8(UInt8(offset), at: offset) }
        let segment = space.segment(at: 0x41, remaining: 6, write: false)
        let short = output(capacity: 8, after: [0xaa, 0xbb, 0xcc, 0xdd]) {
            #expect(space.read(segment, into: &$0) == 4)
        }
        #expect(short == [0xaa, 0xbb, 0xcc, 0xdd, 0x41, 0x42, 0x43, 0x44])

        var target = [UInt8](repeating: 0, count: 4)
        func copy(at offset: Int) -> Int {
            var span = target.mutableSpan
            var raw = unsafe span.mutableBytes
            return space.read(at: offset, into: &raw)
        }
        #expect(copy(at: 0xfe) == 2)
        #expect(target == [0xfe, 0xff, 0, 0])
        for offset in [-1, 256, Int.min, Int.max] { #expect(copy(at: offset) == 0) }
        #expect(target == [0xfe, 0xff, 0, 0])
    }

    @Test func storageOutsideReadsZeroAndStoresNothing() {
        let space = ConfigSpace(kind: .conventional)
        for offset in [-1, -3, 256, 257, Int.min, Int.max - 1, Int.max] {
            space.storage.store8(0xff, at: offset)
            #expect(space.storage.load8(at: offset) == 0)
        }
        for offset in [256, 300, Int.min, -4, Int.max] {
            space.storage.store32(0xffff_ffff, at: offset)
            space.storage.store16(0xffff, at: offset)
            #expect(space.storage.load32(at: offset) == 0)
        }
        #expect(space.snapshot == [UInt8](repeating: 0, count: 256))
        space.storage.store32(0x4433_2211, at: 254)
        #expect(space.storage.load32(at: 254) == 0x2211)
    }

    // MARK: The quiesce rule

    @Test func deviceControlOffsets() throws {
        let space = ConfigSpace(kind: .express)
        #expect(!(0..<4096).contains(where: space.isDeviceControl))
        try space.add(Data.vendor(8))
        try space.add(Data.express(reset: false))
        #expect((0..<4096).filter(space.isDeviceControl) == [0x50])
        try space.add(Data.express(reset: true), at: 0xa0)
        #expect((0..<4096).filter(space.isDeviceControl) == [0x50, 0xa8], "each of them may reset")
        #expect(!space.isDeviceControl(.max) && !space.isDeviceControl(.min))
    }

    @Test func deviceControlOfAnEntryTheProgramWrote() {
        let space = ConfigSpace(kind: .conventional)
        space.storage.store8(0x60, at: 0x34)
        space.storage.store8(0x10, at: 0x60)
        #expect((0..<256).filter(space.isDeviceControl) == [0x68])
    }
}
