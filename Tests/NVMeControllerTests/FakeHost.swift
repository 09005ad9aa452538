import NVMeController

/// Client memory of a test: one array of bytes at I/O addresses from `base` on, reached as `mode` says.
///
/// Unsafe inside: every access is checked to lie within the array first.
@safe
final class FakeHost: Host {
    enum Mode: CaseIterable { case direct, halves, messages }

    static let base: UInt64 = 0x1_0000_0000
    let size = 8 << 20
    let memory: UnsafeMutableRawPointer
    var mode = Mode.direct
    /// What the device may not write: pages up to the end of memory.
    var readOnly: Range<UInt64> = base + 8 << 20..<base + 8 << 20
    var tracksWrites = true
    var hasVectors = true
    var signals: [UInt16] = []
    var written: [(UInt64, Int)] = []
    /// Called instead of the copy by message that this counts down to.
    var failingCopies = 0
    weak var controller: NVMeController?

    init() {
        unsafe memory = .allocate(byteCount: size, alignment: 4096)
        unsafe memory.initializeMemory(as: UInt8.self, repeating: 0, count: size)
    }

    deinit { unsafe memory.deallocate() }

    private func place(_ address: UInt64, _ count: Int) -> Int? {
        guard address >= Self.base, address - Self.base <= UInt64(size), count >= 0,
            count <= size - Int(address - Self.base)
        else { return nil }
        return Int(address - Self.base)
    }

    func window(at address: UInt64) -> MemoryWindow {
        guard address >= Self.base, address - Self.base < UInt64(size) else { return .none }
        let isWritable = !readOnly.contains(address)
        // Memory of one kind lies together.
        let first = isWritable ? Self.base : readOnly.lowerBound
        let last =
            isWritable && readOnly.lowerBound > address ? readOnly.lowerBound : Self.base + UInt64(size)
        let end = isWritable ? last : readOnly.upperBound
        switch mode {
        case .direct:
            return unsafe MemoryWindow(
                first: first, count: end - first, base: memory + Int(first - Self.base), isReadable: true,
                isWritable: isWritable)
        case .halves:
            // A border every 2 KiB.
            let start = address & ~2047
            return unsafe MemoryWindow(
                first: start, count: 2048, base: memory + Int(start - Self.base), isReadable: true,
                isWritable: isWritable)
        case .messages:
            return unsafe MemoryWindow(
                first: first, count: end - first, base: nil, isReadable: true, isWritable: isWritable)
        }
    }

    func read(_ address: UInt64, into target: UnsafeMutableRawPointer, count: Int) -> Bool {
        guard !fails(), let place = place(address, count) else { return false }
        unsafe target.copyMemory(from: memory + place, byteCount: count)
        return true
    }

    func write(_ address: UInt64, from source: UnsafeRawPointer, count: Int) -> Bool {
        guard !fails(), !readOnly.contains(address), let place = place(address, count) else { return false }
        unsafe (memory + place).copyMemory(from: source, byteCount: count)
        return true
    }

    /// The client goes in the middle of a copy.
    private func fails() -> Bool {
        guard failingCopies > 0 else { return false }
        failingCopies -= 1
        guard failingCopies == 0 else { return false }
        controller?.reset()
        return true
    }

    func wrote(_ address: UInt64, _ count: Int) { written.append((address, count)) }
    func signal(vector: UInt16) { signals.append(vector) }

    func bytes(_ address: UInt64, _ count: Int) -> [UInt8] {
        guard let place = place(address, count) else { return [] }
        return unsafe [UInt8](UnsafeRawBufferPointer(start: memory + place, count: count))
    }

    func put(_ bytes: [UInt8], at address: UInt64) {
        guard let place = place(address, bytes.count) else { return }
        unsafe bytes.withUnsafeBytes { source in
            unsafe UnsafeMutableRawBufferPointer(start: memory + place, count: bytes.count)
                .copyMemory(from: source)
        }
    }

    func put(_ value: some FixedWidthInteger, at address: UInt64) {
        put((0..<value.bitWidth / 8).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }, at: address)
    }

    func word(_ address: UInt64) -> UInt64 {
        bytes(address, 8).reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }
}
