import SystemPackage
import Testing

@testable import VFIOUserWire

@Suite struct CursorTests {
    @Test func integersAtOddPlaces() throws {
        let values: (UInt16, UInt32, UInt64) = try reading(Array(0...20)) { reader throws(Errno) in
            _ = try reader.take(1)
            try reader.require(14)
            return (reader.uint16(), reader.uint32(), reader.uint64())
        }
        #expect(values == (0x0201, 0x0605_0403, 0x0e0d_0c0b_0a09_0807))
    }

    @Test func takingMoreThanThereIs() throws {
        try reading([1, 2, 3]) { reader throws(Errno) in
            _ = try reader.take(2)
            #expect(reader.consumed == 2)
            for count in [2, Int.max, -1, Int.min] {
                var refusal: Errno?
                do throws(Errno) { _ = try reader.take(count) } catch { refusal = error }
                #expect(refusal == .invalidArgument)
                #expect(reader.remaining == 1)
            }
            #expect(reader.rest().byteCount == 1)
            #expect(reader.rest().byteCount == 0)
        }
    }

    @Test func rewinding() throws {
        let value: UInt16 = try reading([1, 2, 3, 4]) { reader throws(Errno) in
            _ = try reader.take(3)
            reader.rewind(to: 4)
            reader.rewind(to: -1)
            #expect(reader.consumed == 3)
            reader.rewind(to: 1)
            try reader.require(2)
            return reader.uint16()
        }
        #expect(value == 0x0302)
    }

    @Test func bytesAndZeros() throws {
        let bytes = try written(space: 9) { writer throws(Errno) in
            let source: [UInt8] = [1, 2, 3]
            try writer.append(source.span)
            try writer.appendZeros(2)
            var lent = try writer.appendZeros(2)
            lent.storeBytes(of: 0x0908, as: UInt16.self)
            #expect(writer.space == 2)
            for count in [3, Int.max, -1] {
                var refusal: Errno?
                do throws(Errno) { try writer.appendZeros(count) } catch { refusal = error }
                #expect(refusal == .noBufferSpace)
            }
            var refusal: Errno?
            do throws(Errno) { try writer.append(source.span) } catch { refusal = error }
            #expect(refusal == .noBufferSpace)
            try writer.appendZeros(0)
            try writer.append([UInt8]().span)
        }
        #expect(bytes == [1, 2, 3, 0, 0, 8, 9])
    }

    @Test func noSpaceAtAll() throws {
        #expect(try written(space: 0) { writer throws(Errno) in try writer.appendZeros(0) } == [])
        #expect(throws: Errno.noBufferSpace) {
            try written(space: 0) { writer throws(Errno) in try writer.appendZeros(1) }
        }
    }
}
