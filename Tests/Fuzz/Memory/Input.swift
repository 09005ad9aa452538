/// What the fuzzer gives, taken piece by piece; zeros when it is used up.
struct Input {
    private let bytes: [UInt8]
    private var position = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    var isEmpty: Bool { position >= bytes.count }

    mutating func byte() -> UInt8 {
        guard position < bytes.count else { return 0 }
        defer { position += 1 }
        return bytes[position]
    }

    mutating func below(_ bound: UInt8) -> UInt8 { byte() % bound }

    /// An IOVA: few places, so that ranges meet, and the end of everything.
    mutating func address() -> UInt64 {
        let byte = byte()
        let place = UInt64(byte & 0x1f) * 0x800
        switch byte >> 5 {
        case 0...3: return place
        case 4: return place + 0x10000 - 1
        case 5: return UInt64.max - place
        case 6: return UInt64.max - 0xfff - place
        default: return place + 1
        }
    }

    mutating func length() -> UInt64 {
        let lengths: [UInt64] = [
            0x800, 0x1000, 1, 0, 0x1001, 0x2000, 0x3000, 0x17ff, 0x8000, 0x10000, 1 << 20, 1 << 43, 1 << 63,
            .max, .max - 0x7ff, 0x7ff,
        ]
        return lengths[Int(byte() & 15)]
    }

    mutating func offset() -> UInt64 {
        let offsets: [UInt64] = [0, 0x1000, 0x800, 1, 0xffff, 0x10000, .max, .max - 0xfff]
        let byte = byte()
        return byte & 0x80 == 0 ? offsets[Int(byte & 7)] : UInt64(byte & 0x7f) * 0x1ff
    }

    /// An id: mostly one that may exist.
    mutating func id() -> UInt32 {
        let byte = byte()
        return byte < 250 ? UInt32(byte % 5) : UInt32.max - UInt32(byte)
    }
}
