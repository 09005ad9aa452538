/// A data structure for the client, little-endian and zeroed but for what is put in.
struct DataPage {
    private(set) var bytes: [UInt8]

    init(_ count: Int = 4096) { bytes = [UInt8](repeating: 0, count: count) }

    mutating func put(_ value: some FixedWidthInteger, at offset: Int) {
        var rest = UInt64(truncatingIfNeeded: value)
        for place in 0..<value.bitWidth / 8 where offset + place < bytes.count {
            bytes[offset + place] = UInt8(truncatingIfNeeded: rest)
            rest >>= 8
        }
    }

    /// ASCII, padded with spaces.
    mutating func put(_ text: String, at offset: Int, count: Int) {
        var source = text.utf8.makeIterator()
        for place in offset..<min(offset + count, bytes.count) {
            bytes[place] = source.next().flatMap { (0x20...0x7e).contains($0) ? $0 : 0x3f } ?? 0x20
        }
    }

    /// UTF-8, ended by NUL bytes.
    mutating func put(terminated text: String, at offset: Int, count: Int) {
        for (place, byte) in text.utf8.prefix(count - 1).enumerated() where offset + place < bytes.count {
            bytes[offset + place] = byte
        }
    }

    mutating func put(_ source: [UInt8], at offset: Int) {
        for (place, byte) in source.enumerated() where offset + place < bytes.count {
            bytes[offset + place] = byte
        }
    }
}
