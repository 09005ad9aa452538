import SystemPackage

@testable import VFIOUserPCI

/// What came of one client access, run the way the server runs it.
struct Outcome: Equatable {
    var error: Errno?
    /// Offset and length of every segment the config region's callback got.
    var callbacks: [Range<Int>] = []
    var wantsReset = false

    static let success = Outcome()
    static func failed(_ error: Errno) -> Outcome { Outcome(error: error) }
}

extension ConfigSpace {
    /// A client write. Callbacks store what they get, as the program of the conformance tests does.
    func clientWrite(_ bytes: [UInt8], at offset: Int) -> Outcome {
        var outcome = Outcome()
        var done = 0
        while done < bytes.count {
            let segment = segment(at: offset &+ done, remaining: bytes.count - done, write: true)
            let part = Array(bytes[done...].prefix(segment.length))
            switch segment.handler {
            case .refused(let error): return outcome.with(error)
            case .memory: return outcome.with(.invalidArgument)
            case .callback:
                for (index, byte) in part.enumerated() { storage.store8(byte, at: segment.offset + index) }
                outcome.callbacks.append(segment.offset..<(segment.offset + segment.length))
            case .register, .capability:
                do throws(Errno) {
                    let effect = try unsafe write(segment, from: part.span.bytes)
                    if effect == .functionLevelReset { outcome.wantsReset = true }
                } catch {
                    return outcome.with(error)
                }
            }
            done += segment.length
        }
        return outcome
    }

    /// A client read: the bytes, or the error. Callbacks answer with memory.
    func clientRead(_ count: Int, at offset: Int) -> (bytes: [UInt8], outcome: Outcome) {
        var outcome = Outcome()
        var bytes: [UInt8] = []
        while bytes.count < count {
            let segment = segment(at: offset &+ bytes.count, remaining: count - bytes.count, write: false)
            switch segment.handler {
            case .refused(let error): return (bytes, outcome.with(error))
            case .register, .capability: return (bytes, outcome.with(.invalidArgument))
            case .callback:
                outcome.callbacks.append(segment.offset..<(segment.offset + segment.length))
                for index in 0..<segment.length { bytes.append(storage.load8(at: segment.offset + index)) }
            case .memory:
                bytes += output(capacity: segment.length) { _ = read(segment, into: &$0) }
            }
        }
        return (bytes, outcome)
    }

    /// All of memory.
    var snapshot: [UInt8] { output(capacity: size) { _ = storage.append(at: 0, count: size, to: &$0) } }

    @discardableResult
    func add(_ bytes: [UInt8], at offset: Int = 0, _ flags: CapabilityFlags = []) throws(Errno) -> Int {
        try unsafe addCapability(bytes.span.bytes, at: offset, flags: flags)
    }

    /// The error of adding, and a check that it changed nothing.
    func errorAdding(_ bytes: [UInt8], at offset: Int = 0, _ flags: CapabilityFlags = []) -> Errno? {
        let before = snapshot
        let count = capabilities.count
        do throws(Errno) {
            try add(bytes, at: offset, flags)
            return nil
        } catch {
            return before == snapshot && count == capabilities.count ? error : Errno(rawValue: -1)
        }
    }

    /// The offset found, or the error.
    func find(_ id: Int, extended: Bool = false, after position: Int = 0) -> Result<Int, Errno> {
        Result { () throws(Errno) in try findCapability(id, extended: extended, after: position) }
    }
}

extension Outcome {
    func with(_ error: Errno) -> Outcome {
        var copy = self
        copy.error = error
        return copy
    }
}

/// What `body` leaves in an output of `capacity` bytes that begins with `prefix`.
func output(capacity: Int, after prefix: [UInt8] = [], _ body: (inout OutputRawSpan) -> Void) -> [UInt8] {
    // Owned here, large enough for both, and initialized up to what `finalize` counts.
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: capacity, alignment: 1)
    defer { unsafe buffer.deallocate() }
    unsafe buffer.copyBytes(from: prefix)
    var span = unsafe OutputRawSpan(buffer: buffer, initializedCount: prefix.count)
    body(&span)
    let count = unsafe span.finalize(for: buffer)
    return unsafe Array(buffer[..<count])
}

func littleEndian(_ value: some FixedWidthInteger, _ count: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
}

/// Capability data as C programs give it.
enum Data {
    static let powerManagement: [UInt8] = [0x01, 0, 0, 0, 0, 0, 0, 0]
    static func vendor(_ size: Int) -> [UInt8] {
        [0x09, 0, UInt8(size)] + (0..<max(size - 3, 0)).map { UInt8(truncatingIfNeeded: 0x61 + $0) }
    }
    static func msi(capable: UInt16) -> [UInt8] {
        [0x05, 0] + littleEndian(capable << 1, 2) + [UInt8](repeating: 0, count: 20)
    }
    static let msix: [UInt8] = [0x11, 0] + [UInt8](repeating: 0, count: 10)
    static func express(reset: Bool) -> [UInt8] {
        [0x10, 0, 0, 0, 0, 0, 0, reset ? 0x10 : 0] + [UInt8](repeating: 0, count: 52)
    }
    static let serial: [UInt8] = [0x03, 0, 0, 0, 4, 0, 0, 0, 8, 0, 0, 0]
    static func extendedVendor(_ size: Int, id: UInt16 = 0x1a) -> [UInt8] {
        let data = (0..<max(size - 8, 0)).map { UInt8(truncatingIfNeeded: 0x61 + $0) }
        return [0x0b, 0, 0, 0] + littleEndian(UInt32(id) | UInt32(size) << 20, 4) + data
    }
}

/// SplitMix64: the same numbers for the same seed.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var value = state
        value = (value ^ value >> 30) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ value >> 27) &* 0x94d0_49bb_1331_11eb
        return value ^ value >> 31
    }
}
