import Glibc
import NVMeController
import NVMeStores
import SystemPackage
import Testing

/// Memory of a request, and the vectors that name it.
///
/// Unsafe inside: vectors lie within the memory, and both live as long as the object.
@safe
final class Buffer {
    let memory: UnsafeMutableRawBufferPointer
    private let storage: UnsafeMutableBufferPointer<iovec>
    private(set) var vectors: UnsafeMutableBufferPointer<iovec>

    /// - Parameter pieces: bytes of each vector.
    init(_ pieces: [Int], alignment: Int = 4096) {
        unsafe memory = .allocate(byteCount: max(1, pieces.reduce(0, +)), alignment: alignment)
        unsafe memory.initializeMemory(as: UInt8.self, repeating: 0xee)
        unsafe storage = .allocate(capacity: pieces.count + 1)
        unsafe vectors = unsafe UnsafeMutableBufferPointer(rebasing: storage[0..<pieces.count])
        refer(to: pieces)
    }

    convenience init(_ bytes: [UInt8], pieces: [Int]? = nil) {
        self.init(pieces ?? [bytes.count])
        unsafe memory.copyBytes(from: bytes)
    }

    private func refer(to pieces: [Int]) {
        var place = 0
        for (index, count) in pieces.enumerated() {
            unsafe vectors[index] = iovec(
                iov_base: memory.baseAddress.map { unsafe $0 + place }, iov_len: count)
            place += count
        }
    }

    /// Has one vector name memory that nobody has.
    func refer(toNothing index: Int) {
        unsafe vectors[index].iov_base = UnsafeMutableRawPointer(bitPattern: 4096)
    }

    var bytes: [UInt8] { unsafe [UInt8](memory) }

    deinit {
        unsafe memory.deallocate()
        unsafe storage.deallocate()
    }
}

/// Gives requests to a store, and keeps what they name until they are complete.
final class StoreDriver {
    let store: any BackingStore
    private var buffers: [UInt32: Buffer] = [:]
    private var nextToken: UInt32 = 0
    /// What became of those that are complete.
    private(set) var outcomes: [UInt32: Errno?] = [:]

    init(_ store: any BackingStore) { self.store = store }

    /// Begins a request of as many bytes as `buffer` has, or `count`.
    @discardableResult
    func start(
        _ operation: StoreRequest.Operation, at offset: UInt64, _ buffer: Buffer? = nil, count: UInt64 = 0
    ) -> UInt32 {
        let token = nextToken
        nextToken += 1
        buffers[token] = buffer
        let empty = unsafe UnsafeMutableBufferPointer<iovec>(start: nil, count: 0)
        let request = unsafe StoreRequest(
            operation, offset: offset, byteCount: buffer.map { UInt64($0.bytes.count) } ?? count,
            vectors: buffer?.vectors ?? empty, token: token)
        switch store.start(request) {
        case .done: end(token, nil)
        case .failed(let error): end(token, error)
        case .pending: break
        }
        return token
    }

    private func end(_ token: UInt32, _ error: Errno?) {
        #expect(outcomes[token] == nil, "completed twice")
        outcomes[token] = .some(error)
        buffers[token] = nil
    }

    func reap(wait: Bool) { store.reap(wait: wait) { token, error in end(token, error) } }

    /// Waits for all.
    func finish() {
        while store.pendingCount > 0 { reap(wait: true) }
    }

    /// Waits by the descriptor, as an event loop does.
    ///
    /// - Returns: whether all were complete in time.
    func finish(within milliseconds: Int) -> Bool {
        let end = ContinuousClock.now + .milliseconds(milliseconds)
        reap(wait: false)
        while store.pendingCount > 0 {
            guard let descriptor = store.completionDescriptor, ContinuousClock.now < end else { return false }
            var entry = pollfd(fd: descriptor.rawValue, events: Int16(POLLIN), revents: 0)
            // One entry.
            _ = unsafe poll(&entry, 1, 100)
            if entry.revents != 0 { reap(wait: false) }
        }
        return true
    }

    /// Carries one request out; what became of it.
    func run(
        _ operation: StoreRequest.Operation, at offset: UInt64 = 0, _ buffer: Buffer? = nil, count: UInt64 = 0
    ) -> Errno? {
        let token = start(operation, at: offset, buffer, count: count)
        finish()
        return outcomes[token] ?? .ioError
    }

    /// Reads with one vector.
    func read(at offset: UInt64, count: Int) throws -> [UInt8] {
        let buffer = Buffer([count])
        if let error = run(.read, at: offset, buffer) { throw error }
        return buffer.bytes
    }
}

/// Pseudo-random bytes that differ by seed.
func pattern(_ count: Int, seed: UInt64) -> [UInt8] {
    var generator = SeededGenerator(seed: seed)
    var words = (0..<(count + 7) / 8).map { _ in generator.next() }
    // As many bytes as there are in the words, or fewer.
    return unsafe words.withUnsafeMutableBytes { unsafe [UInt8]($0.prefix(count)) }
}

/// SplitMix64.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
        return mixed ^ mixed >> 31
    }
}

/// Random requests that do not overlap while they are in flight, against a model in memory.
func playRandomly(_ driver: StoreDriver, rounds: Int, granule: Int, seed: UInt64) throws {
    var generator = SeededGenerator(seed: seed)
    let size = Int(driver.store.byteCount)
    var model = try driver.read(at: 0, count: size)
    let areas = 16
    let area = size / areas
    for _ in 0..<rounds {
        var reads: [(place: Int, buffer: Buffer)] = []
        for index in 0..<areas {
            let first = Int.random(in: 0..<area / granule, using: &generator) * granule
            let most = (area - first) / granule
            let count = min(Int.random(in: 1...most, using: &generator) * granule, 96 << 10)
            let place = index * area + first
            var pieces: [Int] = []
            var left = count
            while left > 0 {
                let whole = Bool.random(using: &generator)
                pieces.append(whole ? min(left, 4096) : Int.random(in: 1...left, using: &generator))
                left -= pieces.last ?? left
            }
            switch Int.random(in: 0..<6, using: &generator) {
            case 0, 1:
                let buffer = Buffer(pieces)
                reads.append((place, buffer))
                driver.start(.read, at: UInt64(place), buffer)
            case 2, 3:
                let bytes = pattern(count, seed: generator.next())
                model.replaceSubrange(place..<place + count, with: bytes)
                let isDurable = Bool.random(using: &generator)
                driver.start(.write(isDurable: isDurable), at: UInt64(place), Buffer(bytes, pieces: pieces))
            case 4:
                model.replaceSubrange(place..<place + count, with: repeatElement(0, count: count))
                let mayDeallocate = Bool.random(using: &generator)
                driver.start(
                    .writeZeroes(mayDeallocate: mayDeallocate), at: UInt64(place), count: UInt64(count))
            default: driver.start(.flush, at: 0)
            }
        }
        #expect(driver.store.completionDescriptor == nil || driver.finish(within: 30_000))
        driver.finish()
        for (place, buffer) in reads {
            let bytes = buffer.bytes
            #expect(bytes == Array(model[place..<place + bytes.count]))
        }
    }
    #expect(driver.outcomes.values.allSatisfy { $0 == nil }, "seed \(seed)")
    #expect(try driver.read(at: 0, count: size) == model, "seed \(seed)")
}
