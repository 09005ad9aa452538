import Benchmark
import VFIOUserWire

/// Messages, from bytes to values and back.
func decoding() {
    let read = message(.regionRead, integers: 16, 4 << 32)
    let map = message(.dmaMap, integers: 3 << 32 | 32, 0, 0x1_0000, 0x1000)

    Benchmark("Wire: REGION_READ, header and payload") { benchmark in
        for _ in benchmark.scaledIterations {
            var reader = Reader(read.span.bytes)
            blackHole(try MessageHeader(decoding: &reader))
            blackHole(try RegionAccess(decoding: &reader))
        }
    }

    Benchmark("Wire: DMA_MAP, header and payload") { benchmark in
        for _ in benchmark.scaledIterations {
            var reader = Reader(map.span.bytes)
            blackHole(try MessageHeader(decoding: &reader))
            blackHole(try DMAMap(decoding: &reader))
        }
    }

    Benchmark("Wire: the header of a reply") { benchmark in
        var bytes = [UInt8](repeating: 0, count: MessageHeader.byteCount)
        let header = MessageHeader(id: 1, command: .regionRead, payloadByteCount: 20)
        for _ in benchmark.scaledIterations {
            var span = bytes.mutableSpan
            var writer = Writer(&span)
            try header.encode(into: &writer)
            blackHole(bytes)
        }
    }
}

/// A request whose payload is these integers.
func message(_ command: Command, integers: UInt64...) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: MessageHeader.byteCount)
    var span = bytes.mutableSpan
    var writer = Writer(&span)
    let header = MessageHeader(id: 1, command: command, payloadByteCount: 8 * integers.count)
    do { try header.encode(into: &writer) } catch { fatalError("a header has room: \(error)") }
    for integer in integers {
        for byte in 0..<8 { bytes.append(UInt8(truncatingIfNeeded: integer >> (8 * UInt64(byte)))) }
    }
    return bytes
}
