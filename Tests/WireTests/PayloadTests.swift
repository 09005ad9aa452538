import SystemPackage
import Testing

@testable import VFIOUserWire

/// What holds for every struct alike.
@Suite struct PayloadTests {
    @Test(arguments: samples) func layout(_ sample: Sample) throws {
        #expect(try sample.built() == sample.bytes)
        #expect(sample.declaredSize == sample.size)
        #expect(sample.bytes.count == sample.size)
        #expect(try sample.roundTrip(sample.bytes, 8192) == sample.bytes)
    }

    @Test(arguments: samples) func everyTruncationIsRefused(_ sample: Sample) {
        for length in 0..<sample.size {
            #expect(throws: Errno.invalidArgument) {
                try sample.roundTrip(Array(sample.bytes[..<length]), 8192)
            }
        }
    }

    @Test(arguments: samples) func everyLackOfRoomIsRefused(_ sample: Sample) throws {
        for space in 0..<sample.size {
            #expect(throws: Errno.noBufferSpace) { try sample.roundTrip(sample.bytes, space) }
        }
        #expect(try sample.roundTrip(sample.bytes, sample.size) == sample.bytes)
    }

    @Test(arguments: samples.filter(\.hasArgsz)) func argszCoversTheStruct(_ sample: Sample) throws {
        var bytes = sample.bytes
        for argsz in [0, 1, UInt32(sample.size) - 1] {
            bytes.replaceSubrange(0..<4, with: VFIOUserWireTests.bytes(argsz))
            #expect(throws: Errno.invalidArgument) { try sample.roundTrip(bytes, 8192) }
        }
        bytes.replaceSubrange(0..<4, with: VFIOUserWireTests.bytes(0x10_0000 as UInt32))
        #expect(try sample.roundTrip(bytes, 8192) == bytes)
    }

    @Test(arguments: samples) func zeroExcessIsAccepted(_ sample: Sample) throws {
        #expect(try sample.roundTrip(sample.bytes + [UInt8](repeating: 0, count: 77), 8192) == sample.bytes)
    }

    @Test(arguments: samples) func randomBytesComeBack(_ sample: Sample) throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        var generator = SeededGenerator(seed: seed)
        var accepted = 0
        for _ in 0..<2000 {
            var bytes = generator.bytes(sample.size)
            // Now and then small numbers, which checks let pass that big ones fail.
            if Bool.random(using: &generator) {
                for index in bytes.indices where Int.random(in: 0..<4, using: &generator) != 0 {
                    bytes[index] = 0
                }
            }
            do throws(Errno) {
                let again = try sample.roundTrip(bytes, 8192)
                #expect(again == bytes, "seed \(seed)")
                accepted += 1
            } catch {
                #expect(error == .invalidArgument, "seed \(seed), \(bytes)")
            }
        }
        #expect(accepted > 10, "seed \(seed)")
    }

    @Test(arguments: ioasSamples.filter(\.hasArgsz)) func excessOfIOASStructsMustBeZero(_ sample: Sample)
        throws
    {
        // Every place, so each of the 8-byte steps and of the rest.
        for place in 0..<21 {
            var excess = [UInt8](repeating: 0, count: 21)
            excess[place] = 0x80
            #expect(throws: Errno.argListTooLong) { try sample.roundTrip(sample.bytes + excess, 8192) }
        }
        // The length is judged before argsz.
        var bytes = sample.bytes + [1]
        bytes[0] = 0
        #expect(throws: Errno.argListTooLong) { try sample.roundTrip(bytes, 8192) }
    }
}
