import SystemPackage
import Testing

@testable import VFIOUserPCI

@Suite struct PCICapabilityTests {
    @Test func powerManagement() {
        #expect(PCICapability.powerManagement().bytes == [0x01, 0, 0x03, 0, 0x08, 0, 0, 0])
        let other = PCICapability.powerManagement(d1: true, d2: true, resetsOnD3Exit: true)
        #expect(other.bytes == [0x01, 0, 0x03, 0x06, 0, 0, 0, 0])
    }

    @Test(arguments: [(1, 0), (2, 1), (4, 2), (8, 3), (16, 4), (32, 5)] as [(Int, UInt8)])
    func msi(vectors: Int, field: UInt8) throws {
        let bytes = try PCICapability.msi(vectors: vectors).bytes
        #expect(bytes == [0x05, 0, 0x80 | field << 1, 0x01] + [UInt8](repeating: 0, count: 20))
    }

    @Test(arguments: [0, -1, 3, 12, 33, 64, Int.max, Int.min])
    func msiVectorsRefused(vectors: Int) {
        #expect(throws: Errno.invalidArgument) { try PCICapability.msi(vectors: vectors) }
    }

    @Test func msix() throws {
        let capability = try PCICapability.msix(
            vectors: 2048, table: .init(bar: 2, offset: 0x4000), pendingBits: .init(bar: 5, offset: 0x1008))
        #expect(capability.bytes == [0x11, 0, 0xff, 0x07, 0x02, 0x40, 0, 0, 0x0d, 0x10, 0, 0])
        #expect(!capability.isExtended)
    }

    @Test(
        arguments: [
            (0, 0, 0, 1, 0), (2049, 0, 0, 1, 0), (-1, 0, 0, 1, 0), (1, 6, 0, 1, 0), (1, -1, 0, 1, 0),
            (1, 0, 4, 1, 0),
            (1, 0, 0, 1, 12), (1, 0, 0, 7, 0), (4, 0, 0, 0, 56), (4, 0, 8, 0, 16), (65, 1, 8, 1, 0),
        ] as [(Int, Int, UInt32, Int, UInt32)])
    func msixRefused(vectors: Int, bar: Int, offset: UInt32, pendingBAR: Int, pendingOffset: UInt32) {
        #expect(throws: Errno.invalidArgument) {
            try PCICapability.msix(
                vectors: vectors, table: .init(bar: bar, offset: offset),
                pendingBits: .init(bar: pendingBAR, offset: pendingOffset))
        }
    }

    @Test(arguments: [(4, 0, 64), (4, 8, 0), (64, 8, 0), (1, 0xffff_fff8, 0)] as [(Int, UInt32, UInt32)])
    func msixTablesMayTouch(vectors: Int, offset: UInt32, pendingOffset: UInt32) throws {
        _ = try PCICapability.msix(
            vectors: vectors, table: .init(bar: 0, offset: offset),
            pendingBits: .init(bar: 0, offset: pendingOffset))
    }

    @Test func express() {
        let plain = PCICapability.express(.rootComplexEndpoint)
        #expect(plain.bytes == [0x10, 0, 0x92, 0, 0, 0x80, 0, 0] + [UInt8](repeating: 0, count: 52))
        let endpoint = PCICapability.express(functionLevelReset: true).bytes
        #expect(endpoint.count == 60)
        #expect(Array(endpoint[..<8]) == [0x10, 0, 0x02, 0, 0, 0x80, 0, 0x10])
        #expect(endpoint[12] == 0x11 && endpoint[18] == 0x11, "one lane at 2.5 GT/s, and so it runs")
    }

    @Test func vendorSpecific() throws {
        #expect(try PCICapability.vendorSpecific([7, 8]).bytes == [0x09, 0, 5, 7, 8])
        #expect(try PCICapability.vendorSpecific([UInt8](repeating: 0, count: 252)).bytes.count == 255)
        #expect(throws: Errno.invalidArgument) {
            try PCICapability.vendorSpecific([UInt8](repeating: 0, count: 253))
        }
    }

    @Test func serialNumber() {
        let capability = PCICapability.deviceSerialNumber(0x1122_3344_5566_7788)
        #expect(
            capability.bytes == [0x03, 0, 0x01, 0, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11])
        #expect(capability.isExtended)
    }

    @Test func extendedVendorSpecific() throws {
        let capability = try PCICapability.extendedVendorSpecific(id: 0x1234, revision: 5, [9, 8, 7])
        #expect(capability.bytes == [0x0b, 0, 0x01, 0, 0x34, 0x12, 0xb5, 0x00, 9, 8, 7])
        #expect(throws: Errno.invalidArgument) {
            try PCICapability.extendedVendorSpecific(id: 0, revision: 16, [])
        }
        let largest = [UInt8](repeating: 1, count: 3831)
        #expect(throws: Errno.invalidArgument) {
            try PCICapability.extendedVendorSpecific(id: 0, largest + [1])
        }
        let fits = try PCICapability.extendedVendorSpecific(id: 0, largest)
        #expect(try ConfigSpace(kind: .express).addCapability(fits, at: 0x100) == 0x100)
    }

    @Test func addingToConfigSpace() throws {
        let space = ConfigSpace(kind: .express)
        space.hasCallback = true
        let all: [(PCICapability, Int, CapabilityFlags)] = [
            (.powerManagement(), 0x40, []),
            (try .msi(vectors: 8).with(.readOnly), 0x48, .readOnly),
            (
                try .msix(vectors: 9, table: .init(bar: 0, offset: 0), pendingBits: .init(bar: 1, offset: 0)),
                0x60, []
            ),
            (.express(functionLevelReset: true), 0x6c, []),
            (try .vendorSpecific([1, 2]).with([.callback, .readOnly]), 0xa8, [.callback, .readOnly]),
            (.deviceSerialNumber(7), 0x100, .extended),
            (try .extendedVendorSpecific(id: 1, [1]).with(.callback), 0x10c, [.extended, .callback]),
        ]
        for (capability, offset, flags) in all {
            #expect(try space.addCapability(capability) == offset)
            #expect(space.capabilities.last?.flags == flags)
            #expect(space.capabilities.last?.size == capability.bytes.count)
        }
        #expect(space.find(0x10) == .success(0x6c))
        #expect(space.clientWrite([0, 0x80], at: 0x74) == Outcome(wantsReset: true))
        #expect(throws: Errno.invalidArgument) {
            try ConfigSpace(kind: .conventional).addCapability(.deviceSerialNumber(7))
        }
    }

    @Test func wellKnownClasses() {
        let space = ConfigSpace(kind: .conventional)
        for (code, bytes) in [
            (.unclassified, [0, 0, 0]), (.nvme, [2, 8, 1]), (.ethernet, [0, 0, 2]),
            (.serial16550, [2, 0, 7]),
            (.systemPeripheral, [0, 0x80, 8]),
        ] as [(PCIClass, [UInt8])] {
            space.setClass(code)
            #expect(space.clientRead(3, at: 9).bytes == bytes)
        }
    }
}
