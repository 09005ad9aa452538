import Testing

@testable import VFIOUserAddressSpace

/// The C interface looks at these bytes.
@Suite struct LayoutTests {
    @Test func entryIsDmaSg() {
        #expect(MemoryLayout<SGEntry>.size == 40)
        #expect(MemoryLayout<SGEntry>.stride == 40)
        #expect(MemoryLayout<SGEntry>.alignment == 8)
        let entry = SGEntry(base: 1, reference: 2, length: 3, offset: 4, writeable: 1)
        let words = unsafe withUnsafeBytes(of: entry) { bytes in
            (0..<5).map { unsafe bytes.load(fromByteOffset: $0 * 8, as: UInt64.self) }
        }
        #expect(words == [1, 2, 3, 4, 1])
    }

    @Test func recordIsDmaInfo() throws {
        let file = try TestFile(pages: 4)
        let table = try IOASTable.legacy()
        let mapping = try table.map(0x1_2000, 0x2000, file, flags: 1, offset: 0x1000).mapping
        let info = unsafe mapping.info
        func word(_ offset: Int) -> UInt64 { unsafe info.load(fromByteOffset: offset, as: UInt64.self) }
        #expect(word(0) == 0x1_2000)
        #expect(word(8) == 0x2000)
        let address = UInt64(UInt(bitPattern: unsafe mapping.address))
        #expect(address != 0)
        #expect(word(16) == address)
        #expect(word(24) == address)
        #expect(word(32) == 0x2000)
        #expect(word(40) == 4096)
        let protection = unsafe info.load(fromByteOffset: 48, as: UInt32.self)
        #expect(protection == 1)
        #expect(unsafe MemoryLayout<MappingRecord>.size == 128)
        #expect(unsafe MemoryLayout<MappingRecord>.stride == 128)
    }

    @Test func recordWithoutMemory() throws {
        let table = try IOASTable.legacy()
        let mapping = try table.map(0x1234, 77, nil, flags: 3, offset: 5).mapping
        let info = unsafe mapping.info
        let words = (0..<6).map { unsafe info.load(fromByteOffset: $0 * 8, as: UInt64.self) }
        #expect(words == [0x1234, 77, 0, 0, 0, 4096])
        let protection = unsafe info.load(fromByteOffset: 48, as: UInt32.self)
        #expect(protection == 3)
    }

    @Test func recordStaysWhereItIs() throws {
        let table = try IOASTable.legacy()
        let mapping = try table.map(0, 1, nil).mapping
        let info = unsafe mapping.info
        for index in UInt64(1)..<5000 { try table.map(index * 2, 1, nil) }
        for index in UInt64(1)..<5000 { try table.unmap(index * 2, 1) }
        let id = try #require(table.attachedID)
        let same = unsafe info == table.firstMapping(in: id)?.info
        #expect(same)
    }
}
