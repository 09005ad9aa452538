import SystemPackage
import Testing

@testable import VFIOUserWire

@Suite struct DeviceMessageTests {
    @Test(arguments: [0, 1, 2, 4, 5]) func boolsAreCounted(_ count: Int) {
        let head = bytes(20 as UInt32, 0x22 as UInt32, 2 as UInt32, 0 as UInt32, 3 as UInt32)
        #expect(throws: Errno.invalidArgument) {
            try decoded(SetIRQs.self, head + [UInt8](repeating: 1, count: count))
        }
    }

    @Test func boolsFit() throws {
        let head = bytes(20 as UInt32, 0x22 as UInt32, 2 as UInt32, 0 as UInt32, 3 as UInt32)
        let left = try reading(head + [1, 0, 1]) { reader throws(Errno) in
            #expect(
                try SetIRQs(decoding: &reader)
                    == SetIRQs(flags: [.dataBool, .trigger], index: 2, start: 0, count: 3))
            return reader.remaining
        }
        #expect(left == 3)
        #expect(throws: Errno.invalidArgument) {
            try decoded(
                SetIRQs.self, bytes(20 as UInt32, 0x22 as UInt32, 2 as UInt32, 0 as UInt32, UInt32.max))
        }
    }

    @Test func irqFlags() {
        #expect(SetIRQs.Flags.dataMask.rawValue == 7)
        #expect(SetIRQs.Flags.actionMask.rawValue == 0x38)
    }

    @Test func featureFlags() {
        let flags = DeviceFeature.Flags(rawValue: 0x800a_0002)
        #expect(flags.feature == .migDeviceState)
        #expect(flags.operations.rawValue == 0x800a_0000)
        #expect(flags.contains(.set) && !flags.contains(.get) && !flags.contains(.probe))
        #expect(DeviceFeature.Flags(rawValue: 0x1_0003).feature == nil)
        #expect(DeviceFeature.Flags(rawValue: 0x1_0003).featureNumber == 3)
        // Feature bits in the operations do not change the feature.
        #expect(DeviceFeature.Flags(.migration, .init(rawValue: 0x1_0006)).rawValue == 0x1_0001)
    }

    @Test func deviceStates() {
        #expect(MigrationDeviceState.State.allCases.map(\.rawValue) == Array(0...7))
        #expect(MigrationDeviceState(.resuming).deviceState == 4)
        #expect(MigrationDeviceState(.resuming).state == .resuming)
    }

    @Test func unknownDeviceState() throws {
        let state = try decoded(MigrationDeviceState.self, bytes(8 as UInt32, 0 as UInt32))
        #expect(state.state == nil)
    }

    @Test(
        arguments: [(7, 0), (8, 1), (15, 8), (7, UInt32.max), (UInt32.max, UInt32.max - 7)]
            as [(UInt32, UInt32)])
    func migrationDataTooLong(_ argsz: UInt32, _ size: UInt32) {
        #expect(throws: Errno.invalidArgument) { try decoded(MigrationData.self, bytes(argsz, size)) }
    }

    @Test func migrationData() throws {
        #expect(try decoded(MigrationData.self, bytes(16 as UInt32, 8 as UInt32)) == MigrationData(size: 8))
        #expect(MigrationData(size: .max).argsz == .max)
        let head = bytes(11 as UInt32, 3 as UInt32)
        for count in 0..<6 {
            let wire = head + [UInt8](repeating: 1, count: count)
            let decode = { () throws(Errno) in
                try reading(wire) { reader throws(Errno) in try MigrationData(decodingWithData: &reader) }
            }
            if count < 3 {
                #expect(throws: Errno.invalidArgument) { try decode() }
            } else {
                #expect(try decode() == MigrationData(size: 3))
            }
        }
    }

    @Test func ioFDs() throws {
        func request(_ fields: UInt32...) throws -> RegionIOFDs {
            try reading(fields.flatMap { bytes($0) }) { reader throws(Errno) in
                try RegionIOFDs(decodingRequest: &reader)
            }
        }
        #expect(try request(16, 0, 2, 0) == RegionIOFDs(index: 2))
        #expect(try request(1_048_576, 0, 2, 0).argsz == 1_048_576)
        #expect(throws: Errno.invalidArgument) { try request(1_048_577, 0, 2, 0) }
        #expect(throws: Errno.invalidArgument) { try request(16, 1, 2, 0) }
        #expect(throws: Errno.invalidArgument) { try request(16, 0, 2, 1) }
        #expect(throws: Errno.invalidArgument) { try request(15, 0, 2, 0) }

        let reply = RegionIOFDs(index: 2, replyCount: 3)
        #expect(
            try encoded(reply) == bytes(160 as UInt32, 0 as UInt32, 2 as UInt32, 3 as UInt32))
        #expect(try decoded(RegionIOFDs.self, encoded(reply)) == reply)
        #expect(RegionIOFDs.replyByteCount(count: .max) == 16 + 48 * 0xffff_ffff)
        #expect(RegionIOFDs(index: 0, replyCount: .max).argsz == .max)
    }
}
