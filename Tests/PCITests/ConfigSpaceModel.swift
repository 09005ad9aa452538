import SystemPackage

/// A second, naive config space for random tests: one owner and one write mask per byte, tables instead of code.
struct ConfigSpaceModel {
    enum Owner: Equatable {
        case header
        case other
        case capability(Int)
    }

    struct Entry {
        var id: Int
        var offset: Int
        var size: Int
        var extended: Bool
        var callback: Bool
        var readOnly: Bool
    }

    var bytes: [UInt8]
    var hasCallback: Bool
    var entries: [Entry] = []
    /// Per BAR dword: bits of the address, and bits that keep their value.
    var barMasks: [(address: UInt32, kept: UInt32)]

    var owners: [Owner] {
        var owners = [Owner](repeating: .other, count: bytes.count)
        for place in 0..<0x40 { owners[place] = .header }
        for (index, entry) in entries.enumerated() {
            for place in entry.offset..<(entry.offset + entry.size) { owners[place] = .capability(index) }
        }
        return owners
    }

    func word(_ place: Int) -> UInt16 { UInt16(bytes[place]) | UInt16(bytes[place + 1]) << 8 }

    mutating func set(_ place: Int, _ data: [UInt8], mask: [UInt8]) {
        for (index, byte) in data.enumerated() {
            bytes[place + index] = bytes[place + index] & ~mask[index] | byte & mask[index]
        }
    }

    /// A write, byte run by byte run. Returns the error and whether it asks for a reset.
    mutating func write(_ data: [UInt8], at offset: Int) -> (Errno?, Bool) {
        let owners = owners
        var reset = false
        var place = offset
        var rest = data
        while !rest.isEmpty {
            guard place >= 0, place < bytes.count else { return (.invalidArgument, reset) }
            var length = 1
            if owners[place] == .header {
                let sizes = [
                    0x04: 2, 0x06: 2, 0x08: 1, 0x09: 3, 0x0c: 1, 0x0d: 1, 0x10: 4, 0x14: 4, 0x18: 4, 0x1c: 4,
                    0x20: 4, 0x24: 4, 0x30: 4, 0x3c: 1, 0x3d: 1, 0x3e: 1, 0x3f: 1,
                ]
                guard let size = sizes[place] else { return (.invalidArgument, reset) }
                length = min(size, rest.count)
                if let error = writeHeader(Array(rest[..<length]), at: place) { return (error, reset) }
            } else {
                while length < rest.count, place + length < bytes.count,
                    owners[place + length] == owners[place]
                {
                    length += 1
                }
                let run = Array(rest[..<length])
                if case .capability(let index) = owners[place] {
                    let (error, wantsReset) = writeEntry(entries[index], run, at: place)
                    reset = reset || wantsReset
                    if let error { return (error, reset) }
                } else if hasCallback {
                    set(place, run, mask: [UInt8](repeating: 0xff, count: length))
                } else {
                    return (.invalidArgument, reset)
                }
            }
            rest.removeFirst(length)
            place += length
        }
        return (nil, reset)
    }

    private mutating func writeHeader(_ data: [UInt8], at place: Int) -> Errno? {
        switch place {
        case 0x04:
            set(place, data, mask: [0x17, 0x05])
            let refused: [UInt8] = [0xc8, 0xfa]
            return zip(data, refused).contains { $0 & $1 != 0 } ? .invalidArgument : nil
        case 0x0c, 0x0d, 0x3c: bytes[place] = data[0]
        case 0x10..<0x28:
            let (address, kept) = barMasks[(place - 0x10) / 4]
            for index in 0..<4 {
                let shift = UInt32(8 * index)
                let new = index < data.count ? data[index] : bytes[place + index]
                let addressByte = UInt8(truncatingIfNeeded: address >> shift)
                let keptByte = UInt8(truncatingIfNeeded: kept >> shift)
                bytes[place + index] = new & addressByte & ~keptByte | bytes[place + index] & keptByte
            }
        case 0x30:
            let all = data + bytes[(0x30 + data.count)..<0x34]
            if all == [0, 0, 0, 0] {
                for index in 0..<4 { bytes[0x30 + index] = 0 }
            } else if ![[0, 0xf8, 0xff, 0xff], [0xfe, 0xff, 0xff, 0xff], [0xff, 0xff, 0xff, 0xff]].contains(
                all)
            {
                return .invalidArgument
            }
        default: break
        }
        return nil
    }

    private mutating func writeEntry(_ entry: Entry, _ data: [UInt8], at place: Int) -> (Errno?, Bool) {
        let start = place - entry.offset
        let ones = [UInt8](repeating: 0xff, count: data.count)
        if entry.readOnly { return (.notPermitted, false) }
        if entry.callback {
            if hasCallback { set(place, data, mask: ones) }
            return (hasCallback ? nil : .invalidArgument, false)
        }
        let header = entry.extended ? (entry.id == 3 ? 12 : 8) : (entry.id == 9 ? 3 : 2)
        if start < header { return (.notPermitted, false) }
        switch entry.id {
        case 0x01:
            if start == 4 && data.count == 2 {
                set(place, data, mask: ones)
                return (nil, false)
            }
            let unsupported = [[2, 2], [6, 1], [7, 1]].contains([start, data.count])
            return (unsupported ? .notSupported : .invalidArgument, false)
        case 0x05:
            var masks = [UInt8](repeating: 0xff, count: 24)
            masks.replaceSubrange(0..<5, with: [0, 0, 0x01, 0, 0xfc])
            for index in [14, 15, 20, 21, 22, 23] { masks[index] = 0 }
            if start == 2 {
                let vectors = data[0] >> 4 & 7
                let capable = bytes[place] >> 1 & 7
                if vectors != bytes[place] >> 4 & 7 && (vectors > 5 || vectors > capable) {
                    set(place, [data[0]], mask: [0x01])
                    return (.invalidArgument, false)
                }
                masks[2] = 0x71
            }
            set(place, data, mask: Array(masks[start..<(start + data.count)]))
        case 0x11:
            for (index, byte) in data.enumerated() where start + index == 3 {
                set(place + index, [byte], mask: [0xc0])
            }
        case 0x10:
            guard data.count == 2 else { return (.invalidArgument, false) }
            switch start {
            case 0x08:
                set(place, data, mask: [0xff, 0x7f])
                guard data[1] & 0x80 != 0 else { return (nil, false) }
                let offered = bytes[entry.offset + 7] & 0x10 != 0
                return (offered ? nil : .invalidArgument, offered)
            case 0x28, 0x30: set(place, data, mask: ones)
            case 0x10, 0x18, 0x1c, 0x38: break
            default: return (.invalidArgument, false)
            }
        default: set(place, data, mask: ones)
        }
        return (nil, false)
    }
}
