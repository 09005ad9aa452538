import SystemPackage
import VFIOUserServer

/// Work whose every step depends on all the memory and state that the steps before it left: whatever a migration
/// loses shows sooner or later.
struct Wanderer: Equatable {
    static let stateCount = 8192

    var seed: UInt64 = 0
    var steps: UInt64 = 0
    /// Where its memory is, and how long.
    var base: UInt64 = 0
    var size: UInt64 = 0
    var state = [UInt8](repeating: 0, count: stateCount)

    /// One step in memory that `load` and `store` reach: offset and count, offset and bytes.
    mutating func step(
        load: (Int, Int) throws(Errno) -> [UInt8], store: (Int, [UInt8]) throws(Errno) -> Void
    ) throws(Errno) {
        var random = SeededGenerator(seed: seed)
        let count = Int.random(in: 1...500, using: &random)
        let source = Int.random(in: 0...Int(size) - count, using: &random)
        // Half of it goes to few pages, as programs do.
        let span = Bool.random(using: &random) ? Int(size) : Int(size) / 16
        let target = Int.random(in: 0...span - count, using: &random)
        var place = Int.random(in: 0..<Self.stateCount, using: &random)
        var bytes = try load(source, count)
        var sum: UInt64 = 0
        for index in bytes.indices {
            bytes[index] = bytes[index] &* 5 &+ state[place] &+ 1
            state[place] ^= bytes[index]
            sum = sum &* 31 &+ UInt64(bytes[index])
            place = (place + 1) % Self.stateCount
        }
        try store(target, bytes)
        seed = random.next() ^ sum
        steps += 1
    }

    /// What is moved.
    var record: [UInt8] { seed.bytes + steps.bytes + base.bytes + size.bytes + state }

    static let recordCount = 32 + stateCount

    init() {}

    init(record: ArraySlice<UInt8>) {
        let head = Array(record.prefix(32))
        seed = UInt64(bytes: head[0..<8])
        steps = UInt64(bytes: head[8..<16])
        base = UInt64(bytes: head[16..<24])
        size = UInt64(bytes: head[24..<32])
        state = Array(record.dropFirst(32))
    }
}

/// A device that does such work as long as it runs and its client lets it.
///
/// Its stream is made of records, the last of which counts.
final class WanderingDevice: MigratableDevice {
    /// Offsets in BAR0, 64 bits each.
    enum Register {
        static let seed: UInt64 = 0
        static let steps: UInt64 = 8
        static let base: UInt64 = 16
        static let size: UInt64 = 24
        /// How many steps it may have done.
        static let limit: UInt64 = 32
    }

    private var wanderer = Wanderer()
    private var limit: UInt64 = 0
    private var isRunning = true
    private var outgoing: [UInt8] = []
    private var incoming: [UInt8] = []

    func configure(_ server: DeviceServer) throws {
        try server.initializePCI(.express)
        try server.setRegion(.bar0, Region(size: 4096, flags: [.readWrite, .memory]))
        try server.enableDMA()
        try server.enableMigration()
    }

    /// Some steps, when there is no request.
    func work(_ server: DeviceServer) {
        guard isRunning, server.isAttached else { return }
        for _ in 0..<20 where wanderer.steps < limit {
            let base = wanderer.base
            do throws(Errno) {
                try wanderer.step { (offset, count) throws(Errno) in
                    try server.load(base + UInt64(offset), count: count)
                } store: { (offset, bytes) throws(Errno) in
                    try server.store(bytes, at: base + UInt64(offset))
                }
            } catch { return }
        }
    }

    func read(
        _ region: RegionIndex, at offset: UInt64, into data: inout MutableRawSpan, on server: DeviceServer
    ) throws(Errno) {
        guard offset == Register.steps, data.byteCount == 8 else { throw .invalidArgument }
        data.storeBytes(of: wanderer.steps, as: UInt64.self)
    }

    func write(
        _ region: RegionIndex, at offset: UInt64, from data: RawSpan, on server: DeviceServer
    ) throws(Errno) {
        guard data.byteCount == 8 else { throw .invalidArgument }
        // Eight bytes, and any are a number.
        let value = unsafe data.unsafeLoadUnaligned(as: UInt64.self)
        switch offset {
        case Register.seed: wanderer.seed = value
        case Register.base: wanderer.base = value
        case Register.size: wanderer.size = value
        case Register.limit: limit = value
        default: throw .invalidArgument
        }
    }

    func enter(_ state: MigrationState, on server: DeviceServer) throws(Errno) {
        switch state {
        case .resuming: incoming = []
        case .stop where server.migrationState == .resuming:
            // A part of a state is none.
            guard incoming.count >= Wanderer.recordCount, incoming.count % Wanderer.recordCount == 0 else {
                throw .invalidArgument
            }
            wanderer = Wanderer(record: incoming.suffix(Wanderer.recordCount))
        case .preCopy, .stopCopy: outgoing += wanderer.record
        default: break
        }
        isRunning = state == .running || state == .preCopy
    }

    func saveState(into data: inout OutputRawSpan, on server: DeviceServer) throws(Errno) {
        if outgoing.isEmpty, server.migrationState == .preCopy { outgoing = wanderer.record }
        let count = min(outgoing.count, data.freeCapacity)
        for byte in outgoing[..<count] { data.append(byte) }
        outgoing.removeFirst(count)
    }

    func restoreState(from data: RawSpan, on server: DeviceServer) throws(Errno) {
        // The span's bytes, copied.
        incoming += unsafe data.withUnsafeBytes { unsafe Array($0) }
    }
}
