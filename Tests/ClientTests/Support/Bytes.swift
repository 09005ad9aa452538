/// Integers as the bytes of a message.
func bytes<each Value: FixedWidthInteger>(_ values: repeat each Value) -> [UInt8] {
    var result: [UInt8] = []
    func append<One: FixedWidthInteger>(_ value: One) {
        for place in 0..<(One.bitWidth / 8) {
            result.append(UInt8(truncatingIfNeeded: value >> (8 * One(place))))
        }
    }
    repeat append(each values)
    return result
}

extension [UInt8] {
    /// The integer at a place; 0 if its bytes are not all there.
    func integer<Value: FixedWidthInteger>(at place: Int, as type: Value.Type = Value.self) -> Value {
        guard place + Value.bitWidth / 8 <= count else { return 0 }
        return (0..<(Value.bitWidth / 8)).reduce(0) {
            $0 | Value(truncatingIfNeeded: self[place + $1]) << (8 * Value($1))
        }
    }

    /// Bytes that differ from place to place.
    static func pattern(_ count: Int, seed: Int = 1) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: ($0 &* 31 &+ seed) ^ ($0 >> 8)) }
    }
}

/// Command numbers.
enum Wire {
    static let version: UInt16 = 1
    static let dmaMap: UInt16 = 2
    static let dmaUnmap: UInt16 = 3
    static let deviceInfo: UInt16 = 4
    static let regionInfo: UInt16 = 5
    static let regionIOFDs: UInt16 = 6
    static let irqInfo: UInt16 = 7
    static let setIRQs: UInt16 = 8
    static let regionRead: UInt16 = 9
    static let regionWrite: UInt16 = 10
    static let dmaRead: UInt16 = 11
    static let dmaWrite: UInt16 = 12
    static let reset: UInt16 = 13
    static let writeMulti: UInt16 = 15
    static let feature: UInt16 = 16
    static let migRead: UInt16 = 17
    static let migWrite: UInt16 = 18
    static let ioasAlloc: UInt16 = 19
    static let ioasDestroy: UInt16 = 20
    static let ioasMap: UInt16 = 21
    static let ioasUnmap: UInt16 = 22
    static let ioasCopy: UInt16 = 23
    static let bind: UInt16 = 24
    static let attach: UInt16 = 25
    static let detach: UInt16 = 26
    static let iovaRanges: UInt16 = 0x8001
    static let compatIOAS: UInt16 = 0x8002
}
