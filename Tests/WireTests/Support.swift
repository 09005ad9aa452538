import SystemPackage

@testable import VFIOUserWire

/// What a closure writes into a buffer of the given size, which holds garbage before.
func written(
    space: Int = 8192, _ body: (inout Writer) throws(Errno) -> Void
) throws(Errno) -> [UInt8] {
    var buffer = [UInt8](repeating: 0xa5, count: space)
    var span = buffer.mutableSpan
    var writer = Writer(&span)
    try body(&writer)
    let count = writer.written
    return Array(buffer[..<count])
}

/// The bytes of a payload.
func encoded<T: WirePayload>(_ value: T) throws(Errno) -> [UInt8] {
    try written { writer throws(Errno) in try value.encode(into: &writer) }
}

/// What a closure reads from the bytes.
func reading<T>(
    _ bytes: [UInt8], _ body: (inout Reader) throws(Errno) -> T
) throws(Errno) -> T {
    var reader = Reader(bytes.span)
    return try body(&reader)
}

/// A payload from its bytes.
func decoded<T: WirePayload>(_ type: T.Type, _ bytes: [UInt8]) throws(Errno) -> T {
    try reading(bytes) { reader throws(Errno) in try T(decoding: &reader) }
}

/// The bytes of integers in host byte order.
func bytes(_ values: any FixedWidthInteger...) -> [UInt8] {
    func bytes(of value: some FixedWidthInteger) -> [UInt8] {
        (0..<(value.bitWidth / 8)).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) }
    }
    return values.flatMap { bytes(of: $0) }
}

/// A generator whose numbers depend on the seed only (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var value = state
        value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
        return value ^ (value >> 31)
    }

    mutating func bytes(_ count: Int) -> [UInt8] {
        (0..<count).map { _ in UInt8.random(in: 0...255, using: &self) }
    }
}
