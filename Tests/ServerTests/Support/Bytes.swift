import SystemPackage
import VFIOUserWire

/// The bytes of integers in host byte order.
func bytes(_ values: any FixedWidthInteger...) -> [UInt8] {
    func bytes(of value: some FixedWidthInteger) -> [UInt8] {
        (0..<(value.bitWidth / 8)).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) }
    }
    return values.flatMap { bytes(of: $0) }
}

/// The bytes of a payload.
func encoded(_ value: some WirePayload) -> [UInt8] {
    var buffer = [UInt8](repeating: 0xa5, count: 4096)
    var span = buffer.mutableSpan
    var writer = Writer(&span)
    do { try value.encode(into: &writer) } catch { return [] }
    let count = writer.written
    return Array(buffer[..<count])
}

/// A payload from its bytes; bytes that follow it are ignored.
func decoded<T: WirePayload>(_ type: T.Type, _ bytes: [UInt8]) throws(Errno) -> T {
    var reader = Reader(bytes.span)
    return try T(decoding: &reader)
}

/// A whole message. `size` is the header's word for it, if that is to be wrong.
func message(
    _ command: UInt16, _ payload: [UInt8] = [], id: UInt16 = 0, flags: UInt32 = 0, size: UInt32? = nil,
    errorNumber: UInt32 = 0
) -> [UInt8] {
    bytes(id, command, size ?? UInt32(16 + payload.count), flags, errorNumber) + payload
}

/// A whole message of a known command.
func message(_ command: Command, _ payload: [UInt8] = [], id: UInt16 = 0, flags: UInt32 = 0) -> [UInt8] {
    message(command.rawValue, payload, id: id, flags: flags)
}

/// Bytes so many times over.
func repeated(_ bytes: [UInt8], _ count: Int) -> [UInt8] {
    var all: [UInt8] = []
    all.reserveCapacity(bytes.count * count)
    for _ in 0..<count { all.append(contentsOf: bytes) }
    return all
}

extension UInt32 {
    /// Header flags, as numbers.
    static let isReply: UInt32 = 1
    static let noReply: UInt32 = 0x10
    static let isError: UInt32 = 0x21
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
