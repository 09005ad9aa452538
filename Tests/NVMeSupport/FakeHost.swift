import Glibc
package import NVMeController

/// Client memory of a test: one array of bytes at I/O addresses from `base` on, reached as `mode` says, between pages that
/// must not be touched.
///
/// Unsafe inside: every access of the host is checked to lie within the array first.
@safe
package final class FakeHost: Host {
    package enum Mode: CaseIterable, Sendable { case direct, halves, messages }

    package static let base: UInt64 = 0x1_0000_0000
    package static let size = 8 << 20
    private static let guardSize = 1 << 16
    private let memory: UnsafeMutableRawPointer
    package var mode = Mode.direct
    package var hasVectors = true
    package var tracksWrites = true
    /// What the device may not write, and what it may not see at all. Whoever changes them tells the controller.
    package var readOnly: Range<UInt64> = 0..<0
    package var hidden: Range<UInt64> = 0..<0
    /// What only messages reach, whatever the mode.
    package var remote: Range<UInt64> = 0..<0
    package private(set) var signals: [UInt16] = []
    package private(set) var written: [(UInt64, Int)] = []
    /// The copy by message that this counts down to finds the client gone.
    package var failingCopies = 0
    /// Writes to registers that the client makes in the middle of the next copies, one in each.
    package var crossingWrites: [(offset: Int, value: UInt32)] = []
    /// The copies, numbered from 0 when this is set, that are interrupted.
    package var interruptedCopies: Range<Int> = 0..<0 { didSet { copyCount = 0 } }
    package private(set) var copyCount = 0
    package weak var controller: NVMeController?

    package init() {
        let whole = Self.size + 2 * Self.guardSize
        let base = unsafe mmap(nil, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        guard let base = unsafe base, unsafe base != MAP_FAILED else { fatalError("no memory") }
        unsafe memory = base + Self.guardSize
        guard unsafe mprotect(memory, Self.size, PROT_READ | PROT_WRITE) == 0 else { fatalError("no memory") }
    }

    deinit { _ = unsafe munmap(memory - Self.guardSize, Self.size + 2 * Self.guardSize) }

    private func place(_ address: UInt64, _ count: Int) -> Int? {
        guard address >= Self.base, address - Self.base <= UInt64(Self.size), count >= 0,
            count <= Self.size - Int(address - Self.base)
        else { return nil }
        return Int(address - Self.base)
    }

    package func forgetSignals() { signals = [] }
    package func forgetWritten() { written = [] }

    // MARK: Host

    package func window(at address: UInt64) -> MemoryWindow {
        let end = Self.base + UInt64(Self.size)
        guard address >= Self.base, address < end, !hidden.contains(address) else { return .none }
        // Memory of one kind lies together.
        var edges = [
            Self.base, end, readOnly.lowerBound, readOnly.upperBound, hidden.lowerBound, hidden.upperBound,
            remote.lowerBound, remote.upperBound,
        ]
        // A border every 2 KiB.
        if mode == .halves { edges += [address & ~2047, (address & ~2047) + 2048] }
        let first = edges.filter { $0 <= address }.max() ?? Self.base
        let last = edges.filter { $0 > address }.min() ?? end
        return unsafe MemoryWindow(
            first: first, count: last - first,
            base: mode == .messages || remote.contains(address) ? nil : memory + Int(first - Self.base),
            isReadable: true, isWritable: !readOnly.contains(address))
    }

    package func read(_ address: UInt64, into target: UnsafeMutableRawPointer, count: Int) -> Bool {
        guard !fails(), !isInterrupted(), let place = place(address, count),
            !overlaps(hidden, address, count), !isReset()
        else { return false }
        unsafe target.copyMemory(from: memory + place, byteCount: count)
        return true
    }

    package func write(_ address: UInt64, from source: UnsafeRawPointer, count: Int) -> Bool {
        guard !fails(), !isInterrupted(), let place = place(address, count),
            !overlaps(hidden, address, count), !overlaps(readOnly, address, count), !isReset()
        else { return false }
        unsafe (memory + place).copyMemory(from: source, byteCount: count)
        return true
    }

    private func overlaps(_ range: Range<UInt64>, _ address: UInt64, _ count: Int) -> Bool {
        range.overlaps(address..<address + UInt64(count))
    }

    /// The client goes in the middle of a copy.
    private func fails() -> Bool {
        guard failingCopies > 0 else { return false }
        failingCopies -= 1
        guard failingCopies == 0 else { return false }
        controller?.reset()
        return true
    }

    /// A request of the client's comes first.
    private func isInterrupted() -> Bool {
        defer { copyCount += 1 }
        guard interruptedCopies.contains(copyCount) else { return false }
        controller?.interrupt()
        return true
    }

    /// The client writes a register, and reads its way around; whether that reset the controller.
    private func isReset() -> Bool {
        guard let controller, !crossingWrites.isEmpty else { return false }
        let resets = controller.resetCount
        let write = crossingWrites.removeFirst()
        controller.writeRegister(write.offset, write.value)
        for offset in stride(from: 0, to: 0x40, by: 4) { _ = controller.readRegister(offset) }
        return controller.resetCount != resets
    }

    package func wrote(_ address: UInt64, _ count: Int) { written.append((address, count)) }
    package func signal(vector: UInt16) { signals.append(vector) }

    /// How often the controller took the signal of INTx back.
    package private(set) var withdrawals = 0
    package func withdraw() -> Bool {
        withdrawals += 1
        return true
    }

    // MARK: The client's own view

    package func bytes(_ address: UInt64, _ count: Int) -> [UInt8] {
        guard let place = place(address, count) else { return [] }
        return unsafe [UInt8](UnsafeRawBufferPointer(start: memory + place, count: count))
    }

    package func put(_ bytes: [UInt8], at address: UInt64) {
        guard let place = place(address, bytes.count) else { return }
        unsafe bytes.withUnsafeBytes { source in
            unsafe UnsafeMutableRawBufferPointer(start: memory + place, count: bytes.count)
                .copyMemory(from: source)
        }
    }

    package func put(_ value: some FixedWidthInteger, at address: UInt64) {
        put((0..<value.bitWidth / 8).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }, at: address)
    }

    package func word(_ address: UInt64) -> UInt64 {
        bytes(address, 8).reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }
}
