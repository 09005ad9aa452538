import SystemPackage
import Testing
import VFIOUserPCI

@Suite struct CapabilityPlacementTests {
    static func express() -> ConfigSpace {
        let space = ConfigSpace(kind: .express)
        space.hasCallback = true
        return space
    }

    // MARK: What is refused, and in which order

    @Test func flags() {
        let space = ConfigSpace(kind: .conventional)
        for bits in [999, 8, -1, Int32.min] as [Int32] {
            #expect(
                space.errorAdding(Data.powerManagement, CapabilityFlags(rawValue: bits)) == .invalidArgument)
        }
        #expect(
            space.errorAdding([0x81, 0, 0], CapabilityFlags(rawValue: 8)) == .invalidArgument, "before the id"
        )
    }

    @Test func callbackFlagNeedsACallback() {
        let space = ConfigSpace(kind: .conventional)
        #expect(space.errorAdding(Data.powerManagement, .callback) == .invalidArgument)
        #expect(space.errorAdding([0x81, 0, 0], .callback) == .invalidArgument)
        space.hasCallback = true
        #expect(space.errorAdding(Data.powerManagement, .callback) == nil)
    }

    @Test(arguments: [.conventional, .pciX1] as [PCIKind])
    func extendedNeedsTheSpace(kind: PCIKind) {
        let space = ConfigSpace(kind: kind)
        #expect(space.errorAdding(Data.serial, .extended) == .invalidArgument)
        #expect(space.errorAdding([0x66, 0, 0, 0], .extended) == .invalidArgument)
    }

    @Test(arguments: 0...255)
    func standardIDs(id: Int) {
        let space = ConfigSpace(kind: .express)
        let bytes = [UInt8(id), 0, 60] + [UInt8](repeating: 0, count: 57)
        let supported = [0x01, 0x05, 0x09, 0x10, 0x11].contains(id)
        #expect(space.errorAdding(bytes) == (supported ? nil : .notSupported))
    }

    @Test(arguments: [0, 1, 2, 3, 4, 0x0b, 0x66, 0x0103, 0x0b00, 0xffff])
    func extendedIDs(id: Int) {
        let space = ConfigSpace(kind: .pciX2)
        let bytes = littleEndian(id, 4) + littleEndian(12 << 20, 4) + [0, 0, 0, 0]
        #expect(space.errorAdding(bytes, .extended) == ([3, 0x0b].contains(id) ? nil : .notSupported))
    }

    @Test func emptyData() {
        let space = Self.express()
        #expect(space.errorAdding([]) == .notSupported)
        #expect(space.errorAdding([], .extended) == .notSupported)
    }

    @Test(arguments: [
        Data.powerManagement, Data.msi(capable: 0), Data.msix, Data.express(reset: true), Data.vendor(9),
    ])
    func dataTooShort(bytes: [UInt8]) {
        for count in 1..<bytes.count {
            let space = ConfigSpace(kind: .conventional)
            #expect(space.errorAdding(Array(bytes[..<count])) == .invalidArgument)
        }
        let space = ConfigSpace(kind: .conventional)
        #expect(space.errorAdding(bytes + [0xee]) == nil)
        #expect(space.storage.load8(at: 0x40 + bytes.count) == 0, "no byte more than its size")
    }

    @Test(arguments: [Data.serial, Data.extendedVendor(20)])
    func extendedDataTooShort(bytes: [UInt8]) {
        for count in 2..<bytes.count {
            #expect(Self.express().errorAdding(Array(bytes[..<count]), .extended) == .invalidArgument)
        }
    }

    @Test func vendorShorterThanItsHeader() {
        for size in 0...3 {
            let error = Self.express().errorAdding(Data.vendor(size))
            #expect(error == (size < 3 ? .invalidArgument : nil))
        }
        for size in 0...8 {
            let error = Self.express().errorAdding(Data.extendedVendor(size), .extended)
            #expect(error == (size < 8 ? .invalidArgument : nil))
        }
    }

    @Test func sizesFromTheFirstBytes() throws {
        func size(_ bytes: [UInt8], _ extended: Bool = false) throws(Errno) -> Int {
            try unsafe ConfigSpace.capabilitySize(of: bytes.span.bytes, extended: extended)
        }
        #expect(try size([0x01]) == 8)
        #expect(try size([0x05]) == 24)
        #expect(try size([0x10]) == 60)
        #expect(try size([0x11]) == 12)
        #expect(try size([0x09, 0, 255]) == 255)
        #expect(try size([0x03, 0, 0, 0], true) == 12)
        #expect(try size(Array(Data.extendedVendor(0xabc)[..<8]), true) == 0xabc)
        #expect(throws: Errno.notSupported) { try size([0x02]) }
        #expect(throws: Errno.notSupported) { try size([0x01, 0, 0, 0], true) }
        #expect(throws: Errno.invalidArgument) { try size([0x09, 0, 2]) }
        #expect(throws: Errno.invalidArgument) { try size([0x09]) }
    }

    @Test(arguments: [256, 255, 249, 248, 257, 4096, Int.max, -1, Int.min])
    func endOfConventionalSpace(offset: Int) {
        let space = ConfigSpace(kind: .conventional)
        #expect(space.errorAdding(Data.powerManagement, at: offset) == .invalidArgument)
    }

    @Test func lastPlaceOfConventionalSpace() {
        let space = ConfigSpace(kind: .conventional)
        #expect(space.errorAdding(Data.powerManagement, at: 247) == nil, "248 would end with the space")
    }

    @Test(arguments: [1, 0x04, 0x34, 0x3f])
    func belowTheList(offset: Int) {
        #expect(Self.express().errorAdding(Data.powerManagement, at: offset) == .invalidArgument)
        #expect(Self.express().errorAdding(Data.serial, at: offset, .extended) == .invalidArgument)
    }

    @Test(arguments: [0xf9, 0xff, 0x100, 0x101, 0x140, 0x800])
    func standardBeyondTheByteOfItsPointer(offset: Int) {
        #expect(Self.express().errorAdding(Data.powerManagement, at: offset) == .invalidArgument)
    }

    @Test func standardUpToTheExtendedSpace() {
        #expect(Self.express().errorAdding(Data.powerManagement, at: 0xf8) == nil)
    }

    @Test(arguments: [(4094, 12), (4084, 12), (512, 12), (0xfc, 12), (0x101, 12), (0x102, 12), (0x100, 3840)])
    func extendedPlacesRefused(offset: Int, size: Int) {
        let bytes = size == 12 ? Data.serial : Data.extendedVendor(size)
        #expect(Self.express().errorAdding(bytes, at: offset, .extended) == .invalidArgument)
    }

    @Test func extendedPlacesMustBeAligned() throws {
        let space = Self.express()
        try space.add(Data.serial, at: 0x100, .extended)
        for offset in 0x200...0x203 {
            let error = space.errorAdding(Data.extendedVendor(9), at: offset, .extended)
            #expect(error == (offset == 0x200 ? nil : .invalidArgument))
        }
    }

    /// Ending where another begins counts as an overlap; beginning where another ends does not.
    @Test(arguments: 0x50..<0x80)
    func overlaps(offset: Int) throws {
        let space = ConfigSpace(kind: .express)
        try space.add(Data.vendor(16), at: 0x60)
        let error = space.errorAdding(Data.powerManagement, at: offset)
        #expect(error == ((0x58..<0x70).contains(offset) ? .invalidArgument : nil))
    }

    @Test func overlapsOfExtended() throws {
        let space = Self.express()
        try space.add(Data.extendedVendor(0x20), .extended)
        try space.add(Data.extendedVendor(0x20), at: 0x200, .extended)
        for offset in [0x100, 0x104, 0x11c, 0x1f4, 0x1f8, 0x200, 0x21c] {
            #expect(space.errorAdding(Data.serial, at: offset, .extended) == .invalidArgument)
        }
        for offset in [0x120, 0x1f0 - 12, 0x220] {
            #expect(space.errorAdding(Data.serial, at: offset, .extended) == nil)
        }
    }

    @Test func oneHundredAndTwentyEight() throws {
        let space = ConfigSpace(kind: .express)
        // As many as there are bytes for, at three bytes each: the limit is not reached in 192 bytes.
        var count = 0
        while space.errorAdding(Data.vendor(3)) == nil { count += 1 }
        #expect(count == 48)
        #expect(space.errorAdding(Data.vendor(3)) == .noSpace)
        for _ in 0..<128 { try space.add(Data.extendedVendor(8), .extended) }
        #expect(space.errorAdding(Data.extendedVendor(8), .extended) == .noSpace)
        #expect(space.errorAdding([0x66, 0, 0, 0], .extended) == .noSpace, "before the id")
        #expect(space.errorAdding(Data.extendedVendor(8), at: 4000, .extended) == .noSpace)
    }

    // MARK: Where they go

    @Test func automaticPlaces() throws {
        let space = Self.express()
        #expect(try space.add(Data.powerManagement) == 0x40)
        #expect(try space.add(Data.vendor(6), .readOnly) == 0x48)
        #expect(try space.add(Data.vendor(15), .callback) == 0x50)
        #expect(try space.add(Data.vendor(15), at: 0x80) == 0x80)
        #expect(try space.add(Data.vendor(15), at: 0x90) == 0x90)
        #expect(try space.add(Data.msix) == 0xa0)
        #expect(try space.add(Data.serial, .extended) == 0x100)
        #expect(try space.add(Data.extendedVendor(13), .extended) == 0x10c)
        #expect(try space.add(Data.extendedVendor(20), .extended) == 0x11c)
        #expect(try space.add(Data.extendedVendor(20), at: 0x200, .extended) == 0x200)
        #expect(try space.add(Data.extendedVendor(20), .extended) == 0x214)
    }

    /// Behind the tail of the list, and never onto another capability.
    @Test func automaticPlacesSkipTheOthers() throws {
        let space = Self.express()
        try space.add(Data.vendor(8), at: 0x60)
        try space.add(Data.vendor(8), at: 0x40)
        #expect(try space.add(Data.vendor(0x20)) == 0x68)
        try space.add(Data.vendor(8), at: 0x50)
        #expect(try space.add(Data.vendor(8)) == 0x58)
        #expect(try space.add(Data.vendor(4)) == 0x88)

        try space.add(Data.serial, .extended)
        try space.add(Data.serial, at: 0x200, .extended)
        try space.add(Data.serial, at: 0x180, .extended)
        #expect(try space.add(Data.extendedVendor(0x80), .extended) == 0x20c)
    }

    @Test func automaticPlacesMayEndWithTheSpace() throws {
        let space = ConfigSpace(kind: .conventional)
        try space.add(Data.vendor(0xb8))
        #expect(try space.add(Data.powerManagement) == 0xf8)
        #expect(space.errorAdding(Data.vendor(3)) == .noSpace)
    }

    @Test func noRoomBehindTheTail() throws {
        let space = ConfigSpace(kind: .express)
        try space.add(Data.vendor(8), at: 0xf0)
        #expect(space.errorAdding(Data.msix) == .noSpace, "it would leave the standard space")
        #expect(space.errorAdding(Data.powerManagement) == nil)
        let full = Self.express()
        try full.add(Data.extendedVendor(3800), .extended)
        #expect(full.errorAdding(Data.extendedVendor(44), .extended) == .noSpace)
        #expect(full.errorAdding(Data.extendedVendor(40), .extended) == nil)
    }

    // MARK: The lists

    @Test func standardListIsInOrderOfAdding() throws {
        let space = Self.express()
        for (offset, next) in [(0x80, 0x12), (0x40, 0xff), (0xc0, 0x80)] {
            var bytes = Data.vendor(8)
            bytes[1] = UInt8(next)
            try space.add(bytes, at: offset)
        }
        #expect(space.storage.load8(at: 0x34) == 0x80)
        #expect(space.storage.load8(at: 0x81) == 0x40)
        #expect(space.storage.load8(at: 0x41) == 0xc0)
        #expect(space.storage.load8(at: 0xc1) == 0)
        #expect(space.capabilities.map(\.offset) == [0x40, 0x80, 0xc0], "in order of address here")
    }

    @Test func extendedHeadersKeepTheirVersions() throws {
        let space = Self.express()
        var first = Data.serial
        first[2] = 0xf3  // version 3, a next field to be replaced
        first[3] = 0xff
        var second = Data.extendedVendor(12)
        second[2] = 0x72
        try space.add(first, .extended)
        try space.add(second, .extended)
        #expect(space.storage.load32(at: 0x100) == 0x10c3_0003)
        #expect(space.storage.load32(at: 0x10c) == 0x0002_000b)
        #expect(space.storage.load8(at: 0x34) == 0)
        #expect(Array(space.snapshot[0x110..<0x118]) == Array(second[4...]))
    }

    // MARK: Lists the program has edited

    @Test func entriesOfTheProgramAreRespected() throws {
        let space = ConfigSpace(kind: .conventional)
        space.storage.store8(0x44, at: 0x34)
        space.storage.store8(0x05, at: 0x44)
        #expect(try space.add(Data.vendor(8)) == 0x5c)
        #expect(space.storage.load8(at: 0x45) == 0x5c)

        let vendor = ConfigSpace(kind: .conventional)
        vendor.storage.store8(0x40, at: 0x34)
        vendor.storage.store32(0x0011_0009, at: 0x40)
        #expect(try vendor.add(Data.vendor(8)) == 0x54)
    }

    @Test func entryOfUnknownSize() throws {
        let space = ConfigSpace(kind: .conventional)
        space.storage.store8(0x44, at: 0x34)
        space.storage.store8(0x03, at: 0x44)
        #expect(space.errorAdding(Data.vendor(8)) == .invalidArgument)
        #expect(space.errorAdding(Data.vendor(8), at: 0x80) == nil)
    }

    @Test(arguments: [0x40, 0x48, 0x20, 0xff])
    func listsWithoutAnEnd(link: UInt8) throws {
        let space = ConfigSpace(kind: .conventional)
        try space.add(Data.vendor(8))
        try space.add(Data.vendor(8))
        space.storage.store8(link, at: 0x49)
        #expect(space.errorAdding(Data.vendor(8)) == .invalidArgument)
        #expect(space.errorAdding(Data.vendor(8), at: 0x80) == .invalidArgument)
    }

    @Test(arguments: [0x100, 0x10c, 0x0ff, 0xffc, 0xfff] as [UInt32])
    func extendedListsWithoutAnEnd(link: UInt32) throws {
        let space = Self.express()
        try space.add(Data.serial, .extended)
        try space.add(Data.serial, .extended)
        space.storage.store32(link << 20 | 3, at: 0x10c)
        #expect(space.errorAdding(Data.serial, .extended) == .invalidArgument)
    }

    /// The id at 0x100 is gone, so the list counts as empty, but the place is still taken.
    @Test func extendedListTheProgramEmptied() throws {
        let space = Self.express()
        try space.add(Data.serial, .extended)
        space.storage.store16(0, at: 0x100)
        #expect(space.errorAdding(Data.serial, .extended) == .noSpace)
        #expect(space.errorAdding(Data.serial, at: 0x200, .extended) == .invalidArgument)
    }
}
