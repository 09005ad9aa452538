import VFIOUserWire

/// Many small mappings at a time, in places of their own above all others: trees grow and shrink.
private struct Crowd {
    static let start: UInt64 = 0x10_0000
    static let places: UInt64 = 256
    static let distance: UInt64 = 0x1000

    let id: UInt32
    /// Places apart, an odd number: each is met once.
    let step: UInt64
    let first: UInt64
    let count: UInt64
    let flags: UInt8

    init(_ input: inout Input) {
        id = input.id()
        flags = input.byte()
        first = UInt64(input.byte())
        count = UInt64(input.byte() & 0x7f) + 1
        step = UInt64(flags >> 5) * 2 + 1
    }

    /// The IOVAs, in the order of mapping.
    var iovas: [UInt64] {
        (0..<count).map { Crowd.start + (first + $0 * step) % Crowd.places * Crowd.distance }
    }

    /// Bytes of each: all that there is to the next, or less.
    var length: UInt64 { flags & 1 == 0 ? Crowd.distance : Crowd.distance / 2 }

    var isLegacy: Bool { flags & 2 != 0 }
}

func mapCrowd(_ input: inout Input, _ bench: Bench, _ model: inout Model) {
    let crowd = Crowd(&input)
    for iova in crowd.iovas {
        let offset = iova % Model.fileSize
        if model.isLegacy || crowd.isLegacy {
            legacyMap(
                bench, &model, [.read, .write], at: iova, crowd.length, offset, hasFile: crowd.flags & 4 == 0)
        } else {
            map(
                bench, &model, crowd.id, [.readable, .writeable, .fixedIOVA], at: iova, crowd.length, offset,
                hasFile: crowd.flags & 4 == 0)
        }
    }
}

func unmapCrowd(_ input: inout Input, _ bench: Bench, _ model: inout Model) {
    let crowd = Crowd(&input)
    if !model.isLegacy, crowd.flags & 0xc == 0 {
        // A range; it may cut a mapping in two, or go past the last place.
        unmap(
            bench, &model, crowd.id, Crowd.start + crowd.first * Crowd.distance,
            crowd.count * Crowd.distance - UInt64(crowd.flags & 1))
        return
    }
    for iova in crowd.iovas {
        if model.isLegacy || crowd.isLegacy {
            legacyUnmap(bench, &model, iova, crowd.length)
        } else {
            unmap(bench, &model, crowd.id, iova, crowd.length)
        }
    }
}
