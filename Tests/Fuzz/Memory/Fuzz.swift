import SystemPackage
import VFIOUserAddressSpace
import VFIOUserServer
import VFIOUserWire

/// Random memory commands of either mode, carried out by a server and by the model; after each, both must have
/// answered the same, the device must have been told right, and translations must agree.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzMemory(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    // The fuzzer's buffer has that many bytes.
    var input = Input(unsafe Array(UnsafeBufferPointer(start: data, count: count)))
    let isLegacy = input.byte() & 3 == 0
    guard let bench = try? Bench(isLegacy: isLegacy) else { fatalError("no server") }
    var model = Model(isLegacy: isLegacy)
    var kept: [SGEntry] = []
    for _ in 0..<400 where !input.isEmpty {
        let before = (model.attached, model.visible)
        step(&input, bench, &model)
        checkTelling(bench, model)
        checkStale(kept, bench, model, before)
        kept = probe(&input, bench, model)
    }
    bench.finish()
    return 0
}

private func same(_ result: Result<[UInt8], Errno>, _ expected: Errno?, _ what: String) {
    switch (result, expected) {
    case (.success, nil): return
    case (.failure(let error), let expected?) where error == expected: return
    default: fatalError("\(what): \(result), expected \(expected.debugDescription)")
    }
}

/// The field of a reply.
private func field<Payload: WirePayload, Value>(
    _ result: Result<[UInt8], Errno>, _ path: KeyPath<Payload, Value>
) -> Value? {
    guard case .success(let bytes) = result else { return nil }
    var reader = Reader(bytes.span)
    guard let payload = try? Payload(decoding: &reader) else { fatalError("a short reply") }
    return payload[keyPath: path]
}

private func step(_ input: inout Input, _ bench: Bench, _ model: inout Model) {
    let operation = input.below(model.isLegacy ? 6 : 18)
    switch operation {
    case 0, 1: legacyMap(&input, bench, &model)
    case 2: legacyUnmap(&input, bench, &model)
    case 3: malformed(&input, bench, isLegacy: model.isLegacy)
    case 4: mapCrowd(&input, bench, &model)
    case 5: unmapCrowd(&input, bench, &model)
    case 6:
        let result = bench.request(.ioasAlloc, IOASAlloc())
        let id = model.nextID
        same(result, model.allocate(), "alloc")
        if let got = field(result, \IOASAlloc.ioasID), got != id { fatalError("id \(got), not \(id)") }
    case 7:
        let id = input.id()
        same(bench.request(.ioasDestroy, IOASDestroy(ioasID: id)), model.destroy(id), "destroy \(id)")
    case 8, 9, 10: map(&input, bench, &model)
    case 11, 12: unmap(&input, bench, &model)
    case 13, 14: copy(&input, bench, &model)
    case 15:
        let id = input.id()
        same(bench.request(.attachPT, AttachPT(ioasID: id)), model.attach(id), "attach \(id)")
    case 16:
        if input.byte() & 1 == 0 {
            same(bench.request(.detachPT, DetachPT()), model.detach(), "detach")
        } else {
            same(bench.request(.deviceReset, []), nil, "reset")
        }
    default:
        let id = input.id()
        if input.byte() & 3 == 0 {
            same(bench.request(.compatIOAS, CompatIOAS(.clear)), model.setCompatibility(nil), "clear")
        } else {
            same(
                bench.request(.compatIOAS, CompatIOAS(.set, ioasID: id)), model.setCompatibility(id),
                "compat \(id)")
        }
        let result = bench.request(.compatIOAS, CompatIOAS(.get))
        same(result, model.compatibility == nil ? .operationNotSupportedByDevice : nil, "get")
        if let got = field(result, \CompatIOAS.ioasID), got != model.compatibility { fatalError("compat") }
    }
}

private func map(_ input: inout Input, _ bench: Bench, _ model: inout Model) {
    let flags = input.byte()
    let (id, address, length, offset) = (input.id(), input.address(), input.length(), input.offset())
    let (readable, writable, fixed) = (flags & 1 == 0, flags & 2 == 0, flags & 4 == 0)
    var wanted: IOASMapFlags = []
    if readable { wanted.insert(.readable) }
    if writable { wanted.insert(.writeable) }
    if fixed { wanted.insert(.fixedIOVA) }
    map(bench, &model, id, wanted, at: address, length, offset, hasFile: flags & 0x38 != 0)
}

/// IOAS_MAP.
func map(
    _ bench: Bench, _ model: inout Model, _ id: UInt32, _ flags: IOASMapFlags, at address: UInt64,
    _ length: UInt64, _ offset: UInt64, hasFile: Bool
) {
    var chosen: UInt64 = 0
    let result = bench.request(
        .ioasMap,
        VFIOUserWire.IOASMap(
            ioasID: id, flags: flags, length: length, iova: address, offset: offset), files: hasFile ? 1 : 0)
    let expected = model.map(
        id, readable: flags.contains(.readable), writable: flags.contains(.writeable),
        flags.contains(.fixedIOVA) ? address : nil, length, offset, hasFile: hasFile, &chosen)
    same(result, expected, "map \(id) \(address) \(length) \(offset) \(flags)")
    if let iova = field(result, \VFIOUserWire.IOASMap.iova), iova != chosen {
        fatalError("mapped at \(iova), not \(chosen)")
    }
}

private func unmap(_ input: inout Input, _ bench: Bench, _ model: inout Model) {
    let (id, flags) = (input.id(), input.byte())
    let all = flags & 7 == 0
    var (address, length) = all && flags & 8 == 0 ? (0, 0) : (input.address(), input.length())
    // Often just what is there.
    let mappings = model.sorted(id)
    if flags & 0x30 == 0x30, !mappings.isEmpty {
        let mapping = mappings[Int(input.below(UInt8(clamping: mappings.count)))]
        (address, length) = (mapping.iova, mapping.length)
    }
    unmap(bench, &model, id, all: all, address, length)
}

/// IOAS_UNMAP.
func unmap(
    _ bench: Bench, _ model: inout Model, _ id: UInt32, all: Bool = false, _ address: UInt64, _ length: UInt64
) {
    var bytes: UInt64 = 0
    let result = bench.request(
        .ioasUnmap, IOASUnmap(ioasID: id, flags: all ? .all : [], iova: address, length: length))
    same(result, model.unmap(id, all: all, address, length, &bytes), "unmap \(id) \(address) \(length)")
    if let got = field(result, \IOASUnmap.length), got != bytes { fatalError("\(got) bytes, not \(bytes)") }
}

private func copy(_ input: inout Input, _ bench: Bench, _ model: inout Model) {
    let flags = input.byte()
    let (source, target, address, length) = (input.id(), input.id(), input.address(), input.length())
    var sourceIOVA = input.address()
    let (readable, writable, fixed) = (flags & 1 == 0, flags & 2 == 0, flags & 4 == 0)
    if flags & 8 != 0, let mapping = model.sorted(source).last { sourceIOVA = mapping.iova }
    var wanted: IOASMapFlags = []
    if readable { wanted.insert(.readable) }
    if writable { wanted.insert(.writeable) }
    if fixed { wanted.insert(.fixedIOVA) }
    var chosen: UInt64 = 0
    let result = bench.request(
        .ioasCopy,
        IOASCopy(
            sourceID: source, destinationID: target, flags: wanted, sourceIOVA: sourceIOVA,
            destinationIOVA: address, length: length))
    let expected = model.copy(
        source, sourceIOVA, length, to: target, fixed ? address : nil, readable: readable,
        writable: writable, &chosen)
    same(result, expected, "copy \(source) \(sourceIOVA) \(length) to \(target) \(address) \(flags)")
    if let iova = field(result, \IOASCopy.destinationIOVA), iova != chosen {
        fatalError("copied to \(iova), not \(chosen)")
    }
}

private func legacyMap(_ input: inout Input, _ bench: Bench, _ model: inout Model) {
    let flags = input.byte()
    let (address, length) = (input.address(), input.length())
    let hasFile = flags & 4 != 0
    // mmap has its own errors for offsets past all files; DMA_MAP does not look at the file's size.
    let offset = hasFile ? input.offset() % Model.fileSize : input.offset()
    let readable = flags & 1 == 0
    let writable = flags & 2 == 0
    var wanted: DMAMap.Flags = []
    if readable { wanted.insert(.read) }
    if writable { wanted.insert(.write) }
    guard !hasFile || length <= 1 << 20 else { return }
    legacyMap(bench, &model, wanted, at: address, length, offset, hasFile: hasFile)
}

/// DMA_MAP.
func legacyMap(
    _ bench: Bench, _ model: inout Model, _ flags: DMAMap.Flags, at address: UInt64, _ length: UInt64,
    _ offset: UInt64, hasFile: Bool
) {
    let result = bench.request(
        .dmaMap, DMAMap(flags: flags, offset: offset, address: address, size: length),
        files: hasFile ? 1 : 0)
    let expected = model.legacyMap(
        readable: flags.contains(.read), writable: flags.contains(.write), address, length, offset,
        hasFile: hasFile)
    same(result, expected, "DMA_MAP \(address) \(length) \(offset) \(flags)")
}

private func legacyUnmap(_ input: inout Input, _ bench: Bench, _ model: inout Model) {
    let flags = input.byte()
    if flags & 0xf == 0 {
        same(
            bench.request(.dmaUnmap, DMAUnmap.everything), model.legacyUnmap(all: true, 0, 0), "DMA_UNMAP all"
        )
        return
    }
    var (address, length) = (input.address(), input.length())
    let mappings = model.compatibility.map { model.sorted($0) } ?? []
    if flags & 0x30 != 0, !mappings.isEmpty {
        let mapping = mappings[Int(input.below(UInt8(clamping: mappings.count)))]
        (address, length) = (mapping.iova, mapping.length)
    }
    legacyUnmap(bench, &model, address, length)
}

/// DMA_UNMAP.
func legacyUnmap(_ bench: Bench, _ model: inout Model, _ address: UInt64, _ length: UInt64) {
    same(
        bench.request(.dmaUnmap, DMAUnmap(address: address, size: length)),
        model.legacyUnmap(all: false, address, length), "DMA_UNMAP \(address) \(length)")
}

/// Requests that fail whatever is mapped.
private func malformed(_ input: inout Input, _ bench: Bench, isLegacy: Bool) {
    let samples: [(Command, [UInt8], CInt)] = [
        (.ioasAlloc, Bench.bytes(IOASAlloc()), 0),
        (.ioasDestroy, Bench.bytes(IOASDestroy(ioasID: 1)), 0),
        (.ioasMap, Bench.bytes(VFIOUserWire.IOASMap(ioasID: 1, flags: .readable, length: 4096)), 7),
        (.ioasUnmap, Bench.bytes(IOASUnmap(ioasID: 1, iova: 0, length: 4096)), 1),
        (
            .ioasCopy,
            Bench.bytes(
                IOASCopy(sourceID: 1, destinationID: 1, flags: .readable, sourceIOVA: 0, length: 4096)), 7
        ),
        (.bind, Bench.bytes(Bind()), 0), (.attachPT, Bench.bytes(AttachPT(ioasID: 1)), 1),
        (.detachPT, Bench.bytes(DetachPT()), 1), (.iovaRanges, Bench.bytes(IOVARanges(ioasID: 1)), 0),
        (.compatIOAS, Bench.bytes(CompatIOAS(.get)), 0),
    ]
    let (command, good, flags) = samples[Int(input.below(UInt8(samples.count)))]
    let files = Int(input.below(4))
    var payload = good
    var expected = Errno.invalidArgument
    switch input.below(4) {
    case 0: payload = Array(good.prefix(1 + Int(input.byte()) % (good.count - 1)))
    case 1:
        payload += [UInt8](repeating: 0, count: Int(input.below(20))) + [input.byte() | 1]
        expected = .argListTooLong
    case 2: payload[0] = input.byte() % UInt8(good.count)
    default:
        let bit = UInt32(input.below(32))
        guard UInt32(flags) >> bit & 1 == 0 else { return }
        payload[4 + Int(bit / 8)] |= 1 << UInt8(bit % 8)
    }
    same(
        bench.request(command, payload, files: files), isLegacy ? .invalidArgument : expected,
        "malformed \(command)")
}

/// What the device knows is what there is to see.
private func checkTelling(_ bench: Bench, _ model: Model) {
    let visible = Dictionary(uniqueKeysWithValues: model.visible.map { ($0.iova, $0.length) })
    guard bench.device.known == visible else {
        fatalError("the device knows \(bench.device.known), there is \(visible)")
    }
    if model.isLegacy { return }
    guard bench.device.attached == model.attached, bench.server.attachedIOAS == model.attached else {
        fatalError("another address space is attached")
    }
}

/// Entries from before a request are good as long as their mapping has been seen all the time, and no longer.
private func checkStale(
    _ kept: [SGEntry], _ bench: Bench, _ model: Model, _ before: (attached: UInt32?, visible: [Model.Mapping])
) {
    let stayed = before.attached == model.attached ? before.visible.filter(model.visible.contains) : []
    for entry in kept {
        let isGood = (try? bench.server.translator.validate(entry)) != nil
        guard isGood == stayed.contains(where: { $0.iova == entry.base }) else {
            fatalError("an entry of \(entry.base) is \(isGood ? "good" : "stale")")
        }
    }
}

/// Compares translations: of a random range, and at both ends of everything, or of part of a crowd.
private func probe(_ input: inout Input, _ bench: Bench, _ model: Model) -> [SGEntry] {
    let flags = input.byte()
    var kept = compare(
        input.address(), input.length(), flags & 1 == 0, flags & 2 == 0, Int(flags >> 2 & 7), bench, model)
    let visible = model.visible
    let beginning = visible.count > 24 ? Int(input.byte()) % (visible.count - 24) : 0
    for mapping in visible.dropFirst(beginning).prefix(25) {
        for (address, length) in [
            (mapping.iova, mapping.length), (mapping.iova &- 1, 1), (mapping.iova &- 1, 2), (mapping.last, 1),
            (mapping.last, 2), (mapping.last &+ 1, 1), (mapping.iova, UInt64.max),
        ] as [(UInt64, UInt64)] {
            kept += compare(address, length, true, false, 4, bench, model)
            _ = compare(address, length, false, true, 4, bench, model)
        }
    }
    return Array(kept.prefix(64))
}

private func compare(
    _ address: UInt64, _ length: UInt64, _ read: Bool, _ write: Bool, _ capacity: Int, _ bench: Bench,
    _ model: Model
) -> [SGEntry] {
    let expected = model.translate(address, length, read: read, write: write, capacity: capacity)
    let (found, entries) = bench.translate(address, length, read: read, write: write, capacity: capacity)
    guard found == expected else {
        fatalError("\(address)+\(length) \(read) \(write) \(capacity): \(found), expected \(expected)")
    }
    for entry in entries {
        guard let mapping = model.visible.first(where: { $0.iova == entry.base }), entry.isWriteable == write
        else { fatalError("an entry of nothing") }
        guard bench.server.translator.isMappable(entry) == mapping.hasFile else { fatalError("mappable") }
        // Only what the file has: what lies behind its end cannot be touched.
        guard mapping.hasFile, mapping.readable, mapping.offset + mapping.length <= Model.fileSize else {
            continue
        }
        guard let local = try? unsafe bench.server.translator.localAddress(of: entry) else {
            fatalError("no address")
        }
        for place in [0, entry.length - 1] {
            // Within the mapping, which is within the file.
            let byte = unsafe local.load(fromByteOffset: Int(place), as: UInt8.self)
            guard byte == FuzzFile.byte(mapping.offset + entry.offset + place) else {
                fatalError("other bytes")
            }
        }
    }
    return entries
}
