import SystemPackage
import Testing
import VFIOUserPCI

@Suite struct CapabilityAccessTests {
    static func space(_ bytes: [UInt8], _ flags: CapabilityFlags = []) throws -> ConfigSpace {
        let space = ConfigSpace(kind: .express)
        space.hasCallback = flags.contains(.callback)
        try space.add(bytes, at: flags.contains(.extended) ? 0x100 : 0x40, flags)
        return space
    }

    // MARK: Flags and headers

    @Test(arguments: [
        (Data.powerManagement, 2), (Data.msi(capable: 0), 2), (Data.vendor(9), 3),
        (Data.express(reset: false), 2),
        (Data.msix, 2),
    ])
    func headersAreProtected(bytes: [UInt8], header: Int) throws {
        let space = try Self.space(bytes)
        let before = space.snapshot
        for offset in 0..<header {
            for length in 1...bytes.count - offset {
                let outcome = space.clientWrite([UInt8](repeating: 0xff, count: length), at: 0x40 + offset)
                #expect(outcome == .failed(.notPermitted))
            }
        }
        #expect(space.snapshot == before)
        #expect(space.clientRead(bytes.count, at: 0x40).bytes == bytes)
    }

    @Test func readOnly() throws {
        let space = try Self.space(Data.vendor(6), .readOnly)
        for offset in 0x40..<0x46 { #expect(space.clientWrite([1], at: offset) == .failed(.notPermitted)) }
        #expect(space.clientRead(3, at: 0x43).bytes == Array("abc".utf8))
        #expect(space.clientRead(6, at: 0x40).outcome == .success)
    }

    @Test func callback() throws {
        let space = try Self.space(Data.vendor(15), .callback)
        #expect(space.clientRead(12, at: 0x43).bytes == Array("abcdefghijkl".utf8))
        #expect(space.clientRead(12, at: 0x43).outcome.callbacks == [0x43..<0x4f])
        #expect(space.clientWrite(Array("Bye world.".utf8), at: 0x43) == Outcome(callbacks: [0x43..<0x4d]))
        #expect(space.clientRead(10, at: 0x43).bytes == Array("Bye world.".utf8))
        #expect(space.clientWrite([0x77], at: 0x40) == Outcome(callbacks: [0x40..<0x41]), "header included")
        space.hasCallback = false
        #expect(space.clientWrite([1], at: 0x43) == .failed(.invalidArgument), "the callback is gone")
        #expect(space.clientRead(1, at: 0x43).outcome == .success)
    }

    @Test func readOnlyCallback() throws {
        let space = try Self.space(Data.vendor(15), [.callback, .readOnly])
        #expect(space.clientWrite([1], at: 0x43) == .failed(.notPermitted))
        #expect(space.clientRead(4, at: 0x41).outcome.callbacks == [0x41..<0x45])
    }

    // MARK: Segments end with the capability

    @Test func vendorIsWrittenUpToItsEnd() throws {
        let space = try Self.space(Data.vendor(8))
        space.hasCallback = true
        let outcome = space.clientWrite([1, 2, 3, 4, 5, 6, 7], at: 0x43)
        #expect(outcome == Outcome(callbacks: [0x48..<0x4a]))
        let read = space.clientRead(10, at: 0x42)
        #expect(read.bytes == [8, 1, 2, 3, 4, 5, 6, 7, 0, 0])
        #expect(read.outcome.callbacks == [0x48..<0x4c])
    }

    @Test func adjacentCapabilities() throws {
        let space = try Self.space(Data.vendor(8))
        try space.add(Data.msi(capable: 5), at: 0x48)
        let before = space.storage.load32(at: 0x4a)
        let outcome = space.clientWrite([UInt8](repeating: 1, count: 8), at: 0x45)
        #expect(outcome == .failed(.notPermitted), "at the header of the second")
        #expect(space.clientRead(3, at: 0x45).bytes == [1, 1, 1])
        #expect(space.storage.load32(at: 0x4a) == before)
    }

    @Test(arguments: [
        Data.msi(capable: 5), Data.msix, Data.express(reset: true), Data.powerManagement, Data.vendor(40),
    ])
    func writesPastTheEndStayInside(bytes: [UInt8]) throws {
        for start in 0..<bytes.count {
            let space = try Self.space(bytes)
            let ones = [UInt8](repeating: 0xff, count: 200)
            #expect(space.clientWrite(ones, at: 0x40 + start).error != nil)
            let tail = space.snapshot[(0x40 + bytes.count)...]
            #expect(tail.allSatisfy { $0 == 0 })
        }
    }

    // MARK: Power management

    @Test(arguments: 2..<8, 1...4)
    func powerManagement(offset: Int, length: Int) throws {
        let space = try Self.space(Data.powerManagement)
        let bytes = (0..<length).map { UInt8(0xa1 + $0) }
        let outcome = space.clientWrite(bytes, at: 0x40 + offset)
        var expected = Data.powerManagement
        switch (offset, length) {
        case (4, 2):
            #expect(outcome == .success)
            expected.replaceSubrange(4..<6, with: [0xa1, 0xa2])
        // What leaves the capability fails only behind it, where nothing takes writes.
        case (2, 2), (6, 1), (7, 1...): #expect(outcome == .failed(.notSupported))
        default: #expect(outcome == .failed(.invalidArgument))
        }
        #expect(space.clientRead(8, at: 0x40).bytes == expected)
    }

    // MARK: MSI

    @Test func msiControl() throws {
        let space = try Self.space(Data.msi(capable: 4))
        #expect(space.clientWrite([0xff, 0xff], at: 0x42) == .failed(.invalidArgument))
        #expect(space.storage.load16(at: 0x42) == 0x0009, "enable is stored before the check")
        #expect(space.clientWrite([0x50, 0], at: 0x42) == .failed(.invalidArgument), "32 of 16 vectors")
        #expect(space.storage.load16(at: 0x42) == 0x0008)
        #expect(space.clientWrite([0x41, 0], at: 0x42) == .success)
        #expect(space.storage.load16(at: 0x42) == 0x0049)
        #expect(space.clientWrite([UInt8](repeating: 0, count: 22), at: 0x42) == .success)
        #expect(space.clientRead(24, at: 0x40).bytes == Data.msi(capable: 4))
    }

    @Test(arguments: 0...7, 0...7)
    func msiVectors(capable: UInt16, enabled: UInt16) throws {
        let space = try Self.space(Data.msi(capable: capable))
        let allowed = enabled <= 5 && enabled <= capable
        let outcome = space.clientWrite([UInt8(enabled << 4)], at: 0x42)
        #expect(outcome == (allowed ? .success : .failed(.invalidArgument)))
        #expect(space.storage.load16(at: 0x42) == capable << 1 | (allowed ? enabled << 4 : 0))
    }

    @Test func msiWritableBits() throws {
        let space = try Self.space(Data.msi(capable: 0))
        #expect(space.clientWrite([0x8f, 0xff] + [UInt8](repeating: 0xff, count: 20), at: 0x42) == .success)
        let expected: [UInt8] =
            [0x05, 0, 0x01, 0] + [0xfc, 0xff, 0xff, 0xff] + [UInt8](repeating: 0xff, count: 4)
            + [0xff, 0xff, 0, 0] + [0xff, 0xff, 0xff, 0xff] + [0, 0, 0, 0]
        #expect(space.clientRead(24, at: 0x40).bytes == expected)
    }

    @Test func msiTakesAnyLengthAndAlignment() throws {
        for offset in 2..<24 {
            for length in 1...(24 - offset) {
                let space = try Self.space(Data.msi(capable: 5))
                let bytes = [UInt8](repeating: 0x51, count: length)
                #expect(space.clientWrite(bytes, at: 0x40 + offset) == .success)
                for place in 4..<24 {
                    let written = (offset..<(offset + length)).contains(place)
                    let mask: UInt8 = (14..<16).contains(place) || place >= 20 ? 0 : place == 4 ? 0xfc : 0xff
                    #expect(space.storage.load8(at: 0x40 + place) == (written ? 0x51 & mask : 0))
                }
            }
        }
    }

    /// Only a change is checked: the program may have stored a value no client could.
    @Test func msiVectorsOfTheProgram() throws {
        let space = try Self.space(Data.msi(capable: 1))
        space.storage.store16(0x0072, at: 0x42)
        #expect(space.clientWrite([0x34, 0x12], at: 0x4c) == .success)
        #expect(space.storage.load16(at: 0x4c) == 0x1234)
        #expect(space.storage.load16(at: 0x42) == 0x0072)
    }

    // MARK: MSI-X

    @Test func msix() throws {
        let space = try Self.space(Data.msix)
        #expect(space.clientWrite([0xff, 0xff], at: 0x42) == .success)
        #expect(space.clientRead(4, at: 0x40).bytes == [0x11, 0, 0, 0xc0])
        #expect(space.clientWrite([0, 0], at: 0x42) == .success)
        #expect(space.clientRead(4, at: 0x40).bytes == [0x11, 0, 0, 0])
        #expect(space.clientWrite([0xc0, 0xff], at: 0x43) == .success)
        #expect(space.clientRead(12, at: 0x40).bytes == [0x11, 0, 0, 0xc0] + [UInt8](repeating: 0, count: 8))
        #expect(space.clientWrite([0, 0x80], at: 0x42) == .success)
        #expect(space.clientWrite([0], at: 0x44) == .success)
        #expect(space.storage.load16(at: 0x42) == 0x8000)
        #expect(space.clientWrite([0xff], at: 0x42) == .success)
        #expect(space.storage.load16(at: 0x42) == 0x8000, "the table size is read-only")
    }

    @Test(arguments: 2..<12)
    func msixWritableBits(offset: Int) throws {
        for length in 1...(12 - offset) {
            let space = try Self.space(Data.msix)
            #expect(space.clientWrite([UInt8](repeating: 0xff, count: length), at: 0x40 + offset) == .success)
            var expected = Data.msix
            if (offset..<(offset + length)).contains(3) { expected[3] = 0xc0 }
            #expect(space.clientRead(12, at: 0x40).bytes == expected)
        }
    }

    // MARK: PCI Express

    @Test(arguments: 2..<60)
    func expressRegisters(offset: Int) throws {
        for length in [1, 2, 3, 4, 8] where offset + length <= 60 {
            let space = try Self.space(Data.express(reset: true))
            let bytes = (0..<length).map { UInt8($0 == 1 ? 0x7b : 0x5a) }
            let outcome = space.clientWrite(bytes, at: 0x40 + offset)
            var expected = Data.express(reset: true)
            if length == 2 && [0x08, 0x10, 0x18, 0x1c, 0x28, 0x30, 0x38].contains(offset) {
                #expect(outcome == .success)
                if [0x08, 0x28, 0x30].contains(offset) {
                    expected.replaceSubrange(offset..<(offset + 2), with: bytes)
                }
            } else {
                #expect(outcome == .failed(.invalidArgument))
            }
            #expect(space.clientRead(60, at: 0x40).bytes == expected)
        }
    }

    @Test func functionLevelReset() throws {
        let space = try Self.space(Data.express(reset: true))
        #expect(space.clientWrite([0x34, 0xf2], at: 0x48) == Outcome(wantsReset: true))
        #expect(space.storage.load16(at: 0x48) == 0x7234, "the bit itself is never stored")
        #expect(space.clientWrite([0x00, 0x00], at: 0x48) == .success)
    }

    @Test func functionLevelResetNotOffered() throws {
        let space = try Self.space(Data.express(reset: false))
        #expect(space.clientWrite([0x34, 0xf2], at: 0x48) == .failed(.invalidArgument))
        #expect(space.storage.load16(at: 0x48) == 0x7234, "the other bits are stored first")
    }

    @Test func secondRegistersStoreAllBits() throws {
        let space = try Self.space(Data.express(reset: true))
        #expect(space.clientWrite([0xde, 0xad], at: 0x68) == .success)
        #expect(space.clientWrite([0xbe, 0xef], at: 0x70) == .success)
        #expect(space.clientRead(2, at: 0x68).bytes == [0xde, 0xad])
        #expect(space.clientRead(2, at: 0x70).bytes == [0xbe, 0xef])
    }

    // MARK: Extended

    @Test func serialNumber() throws {
        let space = try Self.space(Data.serial, .extended)
        let before = space.snapshot
        for offset in 0..<12 {
            for length in 1...(12 - offset) {
                let outcome = space.clientWrite([UInt8](repeating: 0xff, count: length), at: 0x100 + offset)
                #expect(outcome == .failed(.notPermitted))
            }
        }
        #expect(space.snapshot == before)
    }

    @Test func extendedVendor() throws {
        let space = try Self.space(Data.extendedVendor(13), .extended)
        for offset in 0..<8 { #expect(space.clientWrite([1], at: 0x100 + offset) == .failed(.notPermitted)) }
        #expect(space.clientRead(5, at: 0x108).bytes == Array("abcde".utf8))
        #expect(space.clientWrite(Array("hello".utf8), at: 0x108) == .success)
        #expect(space.clientRead(5, at: 0x108).bytes == Array("hello".utf8))
        #expect(space.clientWrite([1], at: 0x10d) == .failed(.invalidArgument))
    }

    @Test func extendedFlags() throws {
        let readOnly = try Self.space(Data.extendedVendor(13), [.extended, .readOnly])
        #expect(readOnly.clientWrite([1], at: 0x108) == .failed(.notPermitted))
        #expect(readOnly.clientRead(5, at: 0x108).bytes == Array("abcde".utf8))
        let callback = try Self.space(Data.extendedVendor(20), [.extended, .callback])
        #expect(
            callback.clientWrite(Array("12345678".utf8), at: 0x108) == Outcome(callbacks: [0x108..<0x110]))
        #expect(callback.clientRead(8, at: 0x108).bytes == Array("12345678".utf8))
    }
}
