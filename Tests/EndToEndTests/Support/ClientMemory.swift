import SystemPackage
import VFIOUserAddressSpace
import VFIOUserServer

/// A device's copies from and to client memory, at IOVAs.
extension DeviceServer {
    private func entries(
        _ address: UInt64, _ count: Int, _ rights: AccessRights
    ) throws(Errno) -> [SGEntry] {
        var entries = [SGEntry](repeating: SGEntry(), count: 16)
        // Room for as many entries as is said.
        let found = try unsafe translator.translate(
            address, UInt64(count), rights, into: &entries, capacity: entries.count)
        guard found >= 0 else { throw .argListTooLong }
        return Array(entries.prefix(found))
    }

    /// - Parameter directly: not by messages where that can be helped.
    func load(_ address: UInt64, count: Int, directly: Bool = true) throws(Errno) -> [UInt8] {
        var bytes: [UInt8] = []
        for entry in try entries(address, count, .read) {
            var piece = [UInt8](repeating: 0, count: Int(entry.length))
            // As many bytes as the entry has.
            try unsafe read(entry, into: &piece, directly: directly)
            bytes += piece
        }
        return bytes
    }

    /// The same the other way.
    func store(_ bytes: [UInt8], at address: UInt64, directly: Bool = true) throws(Errno) {
        var rest = bytes[...]
        for entry in try entries(address, bytes.count, .write) {
            let piece = Array(rest.prefix(Int(entry.length)))
            rest = rest.dropFirst(piece.count)
            // As many bytes as the entry has.
            try unsafe write(entry, from: piece, directly: directly)
        }
    }
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
}

extension FixedWidthInteger {
    /// Its bytes in the order of memory.
    var bytes: [UInt8] { (0..<(Self.bitWidth / 8)).map { UInt8(truncatingIfNeeded: self >> ($0 * 8)) } }

    /// The integer of these bytes.
    init(bytes: some Collection<UInt8>) {
        self = bytes.reversed().reduce(0) { $0 << 8 | Self(truncatingIfNeeded: $1) }
    }
}

extension [UInt8] {
    /// Bytes that differ from place to place.
    static func pattern(_ count: Int, seed: Int = 1) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: ($0 &* 31 &+ seed) ^ ($0 >> 8)) }
    }
}
