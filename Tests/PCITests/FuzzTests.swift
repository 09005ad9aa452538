import SystemPackage
import Testing
import VFIOUserPCI

/// Random devices and random accesses, against `ConfigSpaceModel`.
@Suite struct FuzzTests {
    static func bars(_ random: inout SeededGenerator) -> [BAR] {
        var bars = [BAR](repeating: .none, count: 6)
        var index = 0
        while index < 6 {
            switch Int.random(in: 0..<5, using: &random) {
            case 0: bars[index] = BAR(size: 1 << UInt64.random(in: 2...20, using: &random), isMemory: false)
            case 1, 2: bars[index] = BAR(size: 1 << UInt64.random(in: 4...31, using: &random), isMemory: true)
            case 3 where index % 2 == 0:
                bars[index] = BAR(
                    size: 1 << UInt64.random(in: 4...40, using: &random), isMemory: true, is64Bit: true,
                    isPrefetchable: Bool.random(using: &random))
                index += 1
            default: break
            }
            index += 1
        }
        return bars
    }

    static func masks(_ bars: [BAR]) -> [(address: UInt32, kept: UInt32)] {
        (0..<6).map { index in
            if index % 2 == 1 && bars[index - 1].is64Bit {
                return (UInt32(truncatingIfNeeded: (UInt64.max - bars[index - 1].size + 1) >> 32), 0)
            }
            let bar = bars[index]
            let address = bar.size == 0 ? 0 : UInt32(truncatingIfNeeded: UInt64.max - bar.size + 1)
            return (address, bar.isMemory ? 0xf : 0x3)
        }
    }

    /// Adds random capabilities to both.
    static func populate(
        _ space: ConfigSpace, _ model: inout ConfigSpaceModel, _ random: inout SeededGenerator
    ) {
        for _ in 0..<Int.random(in: 0...12, using: &random) {
            let extended = space.size > 256 && Int.random(in: 0..<3, using: &random) == 0
            var data: [UInt8]
            switch (extended, Int.random(in: 0..<5, using: &random)) {
            case (true, 0): data = Data.serial
            case (true, _): data = Data.extendedVendor(Int.random(in: 8...200, using: &random))
            case (_, 0): data = Data.powerManagement
            case (_, 1): data = Data.msi(capable: UInt16.random(in: 0...7, using: &random))
            case (_, 2): data = Data.msix
            case (_, 3): data = Data.express(reset: Bool.random(using: &random))
            default: data = Data.vendor(Int.random(in: 3...40, using: &random))
            }
            var flags: CapabilityFlags = extended ? .extended : []
            if space.hasCallback && Int.random(in: 0..<4, using: &random) == 0 { flags.insert(.callback) }
            if Int.random(in: 0..<5, using: &random) == 0 { flags.insert(.readOnly) }
            let explicit = Bool.random(using: &random) ? Int.random(in: 0x40..<0x400, using: &random) & ~3 : 0
            guard let place = try? space.add(data, at: explicit, flags) else { continue }
            let id = extended ? Int(data[0]) | Int(data[1]) << 8 : Int(data[0])
            model.entries.append(
                .init(
                    id: id, offset: place, size: data.count, extended: extended,
                    callback: flags.contains(.callback), readOnly: flags.contains(.readOnly)))
        }
    }

    @Test(arguments: 1...200 as ClosedRange<UInt64>)
    func accessesMatchTheModel(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let space = ConfigSpace(kind: Bool.random(using: &random) ? .express : .conventional)
        space.hasCallback = Bool.random(using: &random)
        let bars = Self.bars(&random)
        for (index, bar) in bars.enumerated() { space.setBAR(index, bar) }
        var model = ConfigSpaceModel(bytes: [], hasCallback: space.hasCallback, barMasks: Self.masks(bars))
        Self.populate(space, &model, &random)
        space.realize(intxCount: 1)
        if Int.random(in: 0..<4, using: &random) == 0 {
            space.hasCallback = false
            model.hasCallback = false
        }
        model.bytes = space.snapshot

        for step in 0..<400 {
            let offset = Self.offset(space, &random)
            let length = Self.length(&random)
            let data = (0..<length).map { _ in Self.byte(&random) }
            if Int.random(in: 0..<4, using: &random) == 0 {
                let (bytes, outcome) = space.clientRead(length, at: offset)
                let range = max(offset, 0)..<min(max(offset, 0) + length, max(space.size, max(offset, 0)))
                let expected = offset < 0 || offset >= space.size ? [] : Array(model.bytes[range])
                let fails = length > 0 && (offset < 0 || offset + length > space.size)
                #expect(
                    bytes == expected && outcome.error == (fails ? .invalidArgument : nil), "seed \(seed)")
            } else {
                let outcome = space.clientWrite(data, at: offset)
                let (error, reset) = model.write(data, at: offset)
                guard outcome.error == error, outcome.wantsReset == reset, space.snapshot == model.bytes
                else {
                    Issue.record(
                        "seed \(seed) step \(step): \(length) bytes at \(offset): \(outcome), \(error as Any)"
                    )
                    return
                }
            }
        }
    }

    /// Mostly near something interesting, sometimes far out.
    static func offset(_ space: ConfigSpace, _ random: inout SeededGenerator) -> Int {
        switch Int.random(in: 0..<10, using: &random) {
        case 0: Int.random(in: -8...(space.size + 8), using: &random)
        case 1, 2, 3: Int.random(in: 0..<0x44, using: &random)
        case 4...8 where !space.capabilities.isEmpty:
            space.capabilities.randomElement(using: &random).map {
                $0.offset + Int.random(in: -2...($0.size + 1), using: &random)
            } ?? 0
        default: Int.random(in: 0..<space.size, using: &random)
        }
    }

    static func length(_ random: inout SeededGenerator) -> Int {
        switch Int.random(in: 0..<8, using: &random) {
        case 0: Int.random(in: 0...300, using: &random)
        case 1: Int.random(in: 0...16, using: &random)
        case 2, 3, 4: 2
        default: [1, 2, 4, 8][Int.random(in: 0..<4, using: &random)]
        }
    }

    static func byte(_ random: inout SeededGenerator) -> UInt8 {
        switch Int.random(in: 0..<4, using: &random) {
        case 0: 0
        case 1: 0xff
        case 2: 1 << UInt8.random(in: 0..<8, using: &random)
        default: UInt8.random(in: 0...255, using: &random)
        }
    }

    /// Segments of any access cover it without gaps up to the first refusal.
    @Test(arguments: 1...50 as ClosedRange<UInt64>)
    func segmentsCoverTheAccess(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let space = ConfigSpace(kind: Bool.random(using: &random) ? .express : .conventional)
        space.hasCallback = Bool.random(using: &random)
        var model = ConfigSpaceModel(bytes: [], hasCallback: space.hasCallback, barMasks: [])
        Self.populate(space, &model, &random)
        for _ in 0..<200 {
            let write = Bool.random(using: &random)
            var offset = Self.offset(space, &random)
            var remaining = Self.length(&random)
            while remaining > 0 {
                let segment = space.segment(at: offset, remaining: remaining, write: write)
                #expect(segment.offset == offset && (1...remaining).contains(segment.length), "seed \(seed)")
                if case .refused = segment.handler { break }
                #expect(offset >= 0 && offset + segment.length <= space.size, "seed \(seed)")
                offset += max(segment.length, 1)
                remaining -= max(segment.length, 1)
            }
        }
    }

    /// The program scribbles over its config space between accesses; nothing traps and nothing outside the access
    /// changes.
    @Test(arguments: 1...50 as ClosedRange<UInt64>)
    func scribblingProgram(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let space = ConfigSpace(kind: Bool.random(using: &random) ? .express : .conventional)
        space.hasCallback = Bool.random(using: &random)
        for (index, bar) in Self.bars(&random).enumerated() { space.setBAR(index, bar) }
        var model = ConfigSpaceModel(bytes: [], hasCallback: space.hasCallback, barMasks: [])
        Self.populate(space, &model, &random)
        for _ in 0..<200 {
            for _ in 0..<4 {
                space.storage.store8(
                    Self.byte(&random), at: Int.random(in: 0..<space.size, using: &random))
            }
            let before = space.snapshot
            let offset = Self.offset(space, &random)
            let length = Self.length(&random)
            _ = space.clientWrite((0..<length).map { _ in Self.byte(&random) }, at: offset)
            _ = space.isDeviceControl(offset)
            _ = space.find(0x09, after: offset)
            _ = space.find(0x0b, extended: true, after: offset)
            let after = space.snapshot
            // A partial write of a header register may clear bits of the rest of it, that are not there.
            let header = (max(offset, 0) & ~3)..<((max(offset, 0) + length + 3) & ~3)
            for place in after.indices where before[place] != after[place] {
                let inside =
                    place < 0x40 ? header.contains(place) : place >= offset && place < offset + length
                #expect(inside, "seed \(seed): byte \(place) by \(length) at \(offset)")
            }
        }
    }
}
