import SystemPackage
import Testing
import VFIOUserPCI

@Suite struct CapabilitySearchTests {
    static func standard() throws -> ConfigSpace {
        let space = ConfigSpace(kind: .conventional)
        space.hasCallback = true
        try space.add(Data.powerManagement)
        try space.add(Data.vendor(6), .readOnly)
        try space.add(Data.vendor(15), .callback)
        try space.add(Data.vendor(15), at: 0x80)
        try space.add(Data.vendor(15), at: 0x90)
        return space
    }

    static func extended() throws -> ConfigSpace {
        let space = ConfigSpace(kind: .express)
        space.hasCallback = true
        try space.add(Data.serial, .extended)
        try space.add(Data.extendedVendor(13, id: 0x1a), [.extended, .readOnly])
        try space.add(Data.extendedVendor(20, id: 0x1b), [.extended, .callback])
        try space.add(Data.extendedVendor(20, id: 0x1c), at: 512, [.extended, .callback])
        try space.add(Data.extendedVendor(20, id: 0x1d), at: 600, [.extended, .callback])
        return space
    }

    @Test func standardList() throws {
        let space = try Self.standard()
        #expect(space.find(0x01) == .success(0x40))
        #expect(space.find(0x01, after: 0x40) == .failure(.noSuchFileOrDirectory))
        var found: [Int] = []
        var position = 0
        while case .success(let next) = space.find(0x09, after: position) {
            found.append(next)
            position = next
        }
        #expect(found == [0x48, 0x50, 0x80, 0x90])
        #expect(space.find(0x09, after: position) == .failure(.noSuchFileOrDirectory))
        #expect(space.find(0x01, after: 0x48) == .failure(.noSuchFileOrDirectory))
        for id in [0, 0x02, 0x10, 0x0109, -1, Int.max, Int.min] {
            #expect(space.find(id) == .failure(.noSuchFileOrDirectory))
        }
    }

    @Test(arguments: [8192, 256, 255, -1, Int.max, Int.min])
    func standardPositionsOutside(position: Int) throws {
        #expect(try Self.standard().find(0x01, after: position) == .failure(.invalidArgument))
    }

    @Test func standardPositionInsideACapability() throws {
        #expect(try Self.standard().find(0x09, after: 0x49) == .failure(.noSuchFileOrDirectory))
    }

    /// In 4096 bytes a position may lie above the list.
    @Test func standardPositionsInExpressSpace() throws {
        let space = ConfigSpace(kind: .express)
        try space.add(Data.powerManagement)
        #expect(space.find(0x01, after: 4094) == .failure(.noSuchFileOrDirectory))
        #expect(space.find(0x01, after: 4095) == .failure(.invalidArgument))
        space.storage.store8(0x40, at: 4095)
        #expect(space.find(0x01, after: 4094) == .success(0x40))
    }

    @Test func extendedList() throws {
        let space = try Self.extended()
        #expect(space.find(3, extended: true) == .success(0x100))
        #expect(space.find(3, extended: true, after: 0x100) == .failure(.noSuchFileOrDirectory))
        var found: [Int] = []
        var position = 0
        while case .success(let next) = space.find(0x0b, extended: true, after: position) {
            found.append(next)
            position = next
        }
        #expect(found == [268, 284, 512, 600])
        #expect(space.find(3, extended: true, after: 268) == .failure(.noSuchFileOrDirectory))
        #expect(space.find(1) == .failure(.noSuchFileOrDirectory), "the standard list is another")
    }

    /// The last entry's next field is 0 and ends the search, whatever the ids in the header look like.
    @Test func extendedSearchEndsAtTheLast() throws {
        let space = try Self.extended()
        space.setIdentity(PCIIdentity(vendor: 0x000b, device: 0x1000))
        #expect(space.find(0x0b, extended: true, after: 600) == .failure(.noSuchFileOrDirectory))
    }

    @Test(arguments: [8192, 4096, 4095, 4092, -1, Int.max, Int.min])
    func extendedPositionsOutside(position: Int) throws {
        #expect(try Self.extended().find(3, extended: true, after: position) == .failure(.invalidArgument))
    }

    @Test func extendedPositionInsideACapability() throws {
        #expect(try Self.extended().find(3, extended: true, after: 269) == .failure(.noSuchFileOrDirectory))
    }

    @Test func extendedSearchWithoutExtendedSpace() throws {
        let space = try Self.standard()
        for position in [0, 0x40, 251] {
            #expect(space.find(3, extended: true, after: position) == .failure(.noSuchFileOrDirectory))
        }
        #expect(space.find(3, extended: true, after: 252) == .failure(.invalidArgument))
        space.storage.store32(0xfff0_0003, at: 0xf0)
        #expect(space.find(3, extended: true, after: 0xf0) == .failure(.noSuchFileOrDirectory), "no link")
    }

    @Test func emptyLists() {
        let space = ConfigSpace(kind: .express)
        #expect(space.find(0) == .failure(.noSuchFileOrDirectory))
        #expect(space.find(0, extended: true) == .failure(.noSuchFileOrDirectory))
    }

    // MARK: Lists the program has edited

    @Test func loopsEnd() throws {
        let space = try Self.standard()
        space.storage.store8(0x48, at: 0x91)
        #expect(space.find(0x10) == .failure(.noSuchFileOrDirectory))
        #expect(space.find(0x09, after: 0x90) == .success(0x48))
        space.storage.store8(0x40, at: 0x41)
        #expect(space.find(0x09) == .failure(.noSuchFileOrDirectory))
        let extended = try Self.extended()
        extended.storage.store32(600 << 20 | 0x0b, at: 600)
        #expect(extended.find(0x33, extended: true) == .failure(.noSuchFileOrDirectory))
    }

    @Test func linksOutside() throws {
        let space = try Self.standard()
        space.storage.store8(0xff, at: 0x41)
        #expect(space.find(0x09) == .failure(.invalidArgument))
        space.storage.store8(0x3c, at: 0x41)
        #expect(space.find(0x09) == .failure(.noSuchFileOrDirectory))
        space.storage.store8(0xff, at: 0x34)
        #expect(space.find(0x01) == .failure(.invalidArgument))
        let extended = try Self.extended()
        extended.storage.store32(0xffd << 20 | 3, at: 0x100)
        #expect(extended.find(0x0b, extended: true) == .failure(.invalidArgument))
        extended.storage.store32(0x0fc << 20 | 3, at: 0x100)
        #expect(extended.find(0x0b, extended: true) == .failure(.noSuchFileOrDirectory))
    }

    @Test func randomListsEnd() {
        for seed in 1...200 as ClosedRange<UInt64> {
            var random = SeededGenerator(seed: seed)
            let space = ConfigSpace(kind: seed % 2 == 0 ? .express : .conventional)
            for offset in 0..<space.size { space.storage.store8(random.next(), at: offset) }
            for _ in 0..<20 {
                let extended = Bool.random(using: &random)
                let id = Int.random(in: 0...(extended ? 0xffff : 0xff), using: &random)
                let position = Int.random(in: -2...4100, using: &random)
                switch space.find(id, extended: extended, after: position) {
                case .success(let offset):
                    let found =
                        extended
                        ? Int(space.storage.load16(at: offset)) : Int(space.storage.load8(at: offset))
                    #expect(found == id && offset >= 0x40 && offset < space.size, "seed \(seed)")
                case .failure(let error):
                    #expect(error == .invalidArgument || error == .noSuchFileOrDirectory, "seed \(seed)")
                }
                let offset = Int.random(in: 0...4096, using: &random)
                _ = space.errorAdding(Data.vendor(8), at: offset)
            }
        }
    }
}
