import SystemPackage

/// What the extension's text says of address spaces, in the plainest way: lists that are searched from end to end.
///
/// Every change answers with the errno of the request, or nil. IOVAs that the server chose are reported to the
/// model, which judges them.
struct Model {
    struct Mapping: Equatable {
        let iova: UInt64
        let length: UInt64
        let readable: Bool
        let writable: Bool
        /// Where in the file it begins.
        let offset: UInt64
        let hasFile: Bool

        var last: UInt64 { iova + (length - 1) }
    }

    /// Bytes of the only file there is.
    static let fileSize: UInt64 = 0x10000
    static let block: UInt64 = 4096
    static let window: ClosedRange<UInt64> = 0x4000...0x1_3fff
    /// Mappings: enough for a tree of several leaves.
    static let limit = 300
    static let spaceLimit = 64
    static let largestLegacy: UInt64 = 1 << 43

    let isLegacy: Bool
    /// In ascending order.
    var spaces: [UInt32: [Mapping]] = [:]
    var attached: UInt32?
    var compatibility: UInt32?
    var nextID: UInt32 = 1

    init(isLegacy: Bool) {
        self.isLegacy = isLegacy
        guard isLegacy else { return }
        spaces[1] = []
        attached = 1
        compatibility = 1
        nextID = 2
    }

    var count: Int { spaces.values.reduce(0) { $0 + $1.count } }

    /// In ascending order.
    var visible: [Mapping] { attached.map { sorted($0) } ?? [] }

    func sorted(_ id: UInt32) -> [Mapping] { spaces[id] ?? [] }

    private mutating func add(_ mapping: Mapping, to id: UInt32) {
        var mappings = sorted(id)
        mappings.append(mapping)
        spaces[id] = mappings.sorted { $0.iova < $1.iova }
    }

    static func overlap(_ mapping: Mapping, _ first: UInt64, _ last: UInt64) -> Bool {
        mapping.iova <= last && first <= mapping.last
    }

    func isTaken(_ id: UInt32, _ first: UInt64, _ last: UInt64) -> Bool {
        (spaces[id] ?? []).contains { Model.overlap($0, first, last) }
    }

    // MARK: Changes

    mutating func allocate() -> Errno? {
        if spaces.count >= Model.spaceLimit { return .noSpace }
        spaces[nextID] = []
        nextID += 1
        return nil
    }

    mutating func destroy(_ id: UInt32) -> Errno? {
        guard spaces[id] != nil else { return .noSuchFileOrDirectory }
        if attached == id { return .resourceBusy }
        if compatibility == id { compatibility = nil }
        spaces[id] = nil
        return nil
    }

    mutating func attach(_ id: UInt32) -> Errno? {
        guard spaces[id] != nil else { return .noSuchFileOrDirectory }
        attached = id
        return nil
    }

    mutating func detach() -> Errno? {
        guard attached != nil else { return .invalidArgument }
        attached = nil
        return nil
    }

    /// IOAS_MAP. `iova` nil: of the server's choice; then `chosen` gets what is right.
    mutating func map(
        _ id: UInt32, readable: Bool, writable: Bool, _ iova: UInt64?, _ length: UInt64, _ offset: UInt64,
        hasFile: Bool, _ chosen: inout UInt64
    ) -> Errno? {
        if !readable && !writable { return .invalidArgument }
        guard spaces[id] != nil else { return .noSuchFileOrDirectory }
        if length == 0 { return .invalidArgument }
        if offset > UInt64.max - (length - 1) { return .overflow }
        if let iova {
            if iova > UInt64.max - (length - 1) { return .overflow }
            if isTaken(id, iova, iova + (length - 1)) { return .fileExists }
        }
        if count >= Model.limit { return .noSpace }
        if hasFile, offset + (length - 1) >= Model.fileSize { return .invalidArgument }
        guard let place = iova ?? lowest(id, length, offset) else { return .noSpace }
        chosen = place
        add(
            Mapping(
                iova: place, length: length, readable: readable, writable: writable, offset: offset,
                hasFile: hasFile), to: id)
        return nil
    }

    /// The lowest blocks of the window that are free, as far into the first as the offset is into the file's.
    private func lowest(_ id: UInt32, _ length: UInt64, _ offset: UInt64) -> UInt64? {
        let lead = offset % Model.block
        if length > Model.window.upperBound { return nil }
        let whole = (lead + length + Model.block - 1) / Model.block * Model.block
        var start = Model.window.lowerBound
        while start + (whole - 1) <= Model.window.upperBound {
            if !isTaken(id, start, start + (whole - 1)) { return start + lead }
            start += Model.block
        }
        return nil
    }

    /// IOAS_UNMAP. `bytes` gets what went.
    mutating func unmap(
        _ id: UInt32, all: Bool, _ iova: UInt64, _ length: UInt64, _ bytes: inout UInt64
    ) -> Errno? {
        guard let mappings = spaces[id] else { return .noSuchFileOrDirectory }
        if all, iova != 0 || length != 0 { return .invalidArgument }
        if all || (iova == 0 && length == .max) {
            bytes = mappings.reduce(0) {
                $0.addingReportingOverflow($1.length).overflow ? .max : $0 + $1.length
            }
            spaces[id] = []
            return nil
        }
        if length == 0 { return .invalidArgument }
        if iova > UInt64.max - (length - 1) { return .overflow }
        let last = iova + (length - 1)
        let touched = mappings.filter { Model.overlap($0, iova, last) }
        if touched.isEmpty || touched.contains(where: { $0.iova < iova || $0.last > last }) {
            return .noSuchFileOrDirectory
        }
        bytes = touched.reduce(0) { $0 + $1.length }
        spaces[id] = mappings.filter { !touched.contains($0) }
        return nil
    }

    mutating func copy(
        _ source: UInt32, _ sourceIOVA: UInt64, _ length: UInt64, to target: UInt32, _ iova: UInt64?,
        readable: Bool, writable: Bool, _ chosen: inout UInt64
    ) -> Errno? {
        if !readable && !writable { return .invalidArgument }
        guard let sources = spaces[source], spaces[target] != nil else { return .noSuchFileOrDirectory }
        if length == 0 { return .invalidArgument }
        if sourceIOVA > UInt64.max - (length - 1) { return .overflow }
        if let iova, iova > UInt64.max - (length - 1) { return .overflow }
        let last = sourceIOVA + (length - 1)
        guard let old = sources.first(where: { $0.iova <= sourceIOVA && $0.last >= last }) else {
            return .noSuchFileOrDirectory
        }
        if (readable && !old.readable) || (writable && !old.writable) { return .notPermitted }
        if let iova, isTaken(target, iova, iova + (length - 1)) { return .fileExists }
        if count >= Model.limit { return .noSpace }
        let offset = old.offset &+ (sourceIOVA - old.iova)
        guard let place = iova ?? lowest(target, length, offset) else { return .noSpace }
        chosen = place
        add(
            Mapping(
                iova: place, length: length, readable: readable, writable: writable, offset: offset,
                hasFile: old.hasFile), to: target)
        return nil
    }

    mutating func setCompatibility(_ id: UInt32?) -> Errno? {
        if let id, spaces[id] == nil { return .noSuchFileOrDirectory }
        compatibility = id
        return nil
    }

    /// DMA_MAP. `isNew` says whether there is a mapping that was not there.
    mutating func legacyMap(
        readable: Bool, writable: Bool, _ iova: UInt64, _ length: UInt64, _ offset: UInt64, hasFile: Bool
    ) -> Errno? {
        guard let id = compatibility, let mappings = spaces[id] else { return .operationNotSupportedByDevice }
        if length > Model.largestLegacy { return .noSpace }
        if length == 0 || iova > UInt64.max - (length - 1) { return .invalidArgument }
        let wanted = Mapping(
            iova: iova, length: length, readable: readable, writable: writable, offset: offset,
            hasFile: hasFile)
        if mappings.contains(wanted) { return nil }
        if isTaken(id, iova, wanted.last) || count >= Model.limit { return .invalidArgument }
        add(wanted, to: id)
        return nil
    }

    mutating func legacyUnmap(all: Bool, _ iova: UInt64, _ length: UInt64) -> Errno? {
        guard let id = compatibility, let mappings = spaces[id] else { return .operationNotSupportedByDevice }
        if all {
            spaces[id] = []
            return nil
        }
        guard let place = mappings.firstIndex(where: { $0.iova == iova && $0.length == length }) else {
            return .noSuchFileOrDirectory
        }
        spaces[id]?.remove(at: place)
        return nil
    }

    // MARK: Translation

    enum Answer: Equatable {
        case pieces([Piece])
        /// More than there is room for.
        case tooMany(Int)
        case error(Errno)
    }

    struct Piece: Equatable {
        let base: UInt64
        let offset: UInt64
        let length: UInt64
    }

    /// vfu_addr_to_sgl.
    func translate(
        _ address: UInt64, _ length: UInt64, read: Bool, write: Bool, capacity: Int
    ) -> Answer {
        if length == 0 { return .pieces([]) }
        if address > UInt64.max - (length - 1) { return .error(.noSuchFileOrDirectory) }
        let mappings = visible
        var pieces: [Piece] = []
        var needed = 0
        var next = address
        var left = length
        while true {
            guard let mapping = mappings.first(where: { $0.iova <= next && next <= $0.last }) else {
                return .error(.noSuchFileOrDirectory)
            }
            let piece = min(
                left, mapping.last - next + 1 == 0 ? left : mapping.length - (next - mapping.iova))
            if needed < capacity {
                // DMA_MAP of a legacy client lets read whatever it says.
                if (write && !mapping.writable) || (read && !mapping.readable && !isLegacy) {
                    return .error(.permissionDenied)
                }
                pieces.append(Piece(base: mapping.iova, offset: next - mapping.iova, length: piece))
            }
            needed += 1
            left -= piece
            if left == 0 { return needed > capacity ? .tooMany(needed) : .pieces(pieces) }
            next += piece
        }
    }
}
