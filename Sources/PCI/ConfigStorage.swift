internal import SystemPackage

/// The bytes of one configuration space, at an address that never changes.
///
/// The device program may hold a pointer to them (`vfu_pci_get_config_space`) and change them at any time, so
/// nothing here hands out a span over them: bytes are copied in and out, and a value is read once, then checked.
///
/// This is the only file of the module with unsafe code. `base` points to `size` initialized bytes owned by this
/// value from `init` to `deinit`, and every access below first proves that it lies within `0..<size`: an access
/// outside reads zeros, stores nothing and traps never.
@safe
package struct ConfigStorage: ~Copyable {
    private let base: UnsafeMutableRawPointer

    /// The number of bytes.
    package let size: Int

    /// Allocates `size` zero bytes; a size below 0 counts as 0.
    init(size: Int) {
        self.size = max(size, 0)
        unsafe base = .allocate(byteCount: self.size, alignment: 16)
        unsafe base.initializeMemory(as: UInt8.self, repeating: 0, count: self.size)
    }

    deinit { unsafe base.deallocate() }

    /// The live bytes, valid until this value goes. Nothing checks what the holder does with them.
    @unsafe
    package var unsafeBytes: UnsafeMutableRawBufferPointer {
        unsafe UnsafeMutableRawBufferPointer(start: base, count: size)
    }

    /// How many of `count` bytes from `offset` on exist.
    private func available(at offset: Int, count: Int) -> Int {
        guard offset >= 0, offset < size, count > 0 else { return 0 }
        return min(count, size - offset)
    }

    /// The byte at `offset`; 0 outside.
    package func load8(at offset: Int) -> UInt8 {
        guard offset >= 0, offset < size else { return 0 }
        // In range by the line above.
        return unsafe base.load(fromByteOffset: offset, as: UInt8.self)
    }

    /// The little-endian 16-bit value at `offset`, of any alignment.
    package func load16(at offset: Int) -> UInt16 {
        UInt16(truncatingIfNeeded: load(at: offset, count: 2))
    }

    /// The little-endian 32-bit value at `offset`, of any alignment.
    package func load32(at offset: Int) -> UInt32 { load(at: offset, count: 4) }

    private func load(at offset: Int, count: Int) -> UInt32 {
        var value: UInt32 = 0
        for index in 0..<count { value |= UInt32(load8(at: offset &+ index)) << UInt32(8 * index) }
        return value
    }

    /// Stores one byte; nothing outside.
    package func store8(_ value: UInt8, at offset: Int) {
        guard offset >= 0, offset < size else { return }
        // In range by the line above.
        unsafe base.storeBytes(of: value, toByteOffset: offset, as: UInt8.self)
    }

    /// Stores a 16-bit value in little-endian order, at any alignment.
    package func store16(_ value: UInt16, at offset: Int) { store(UInt32(value), at: offset, count: 2) }

    /// Stores a 32-bit value in little-endian order, at any alignment.
    package func store32(_ value: UInt32, at offset: Int) { store(value, at: offset, count: 4) }

    private func store(_ value: UInt32, at offset: Int, count: Int) {
        for index in 0..<count {
            store8(UInt8(truncatingIfNeeded: value >> UInt32(8 * index)), at: offset &+ index)
        }
    }

    /// Stores the first `count` of `bytes` (at most all of them) from `offset` on, as far as there is room.
    func store(_ bytes: RawSpan, count: Int, at offset: Int) {
        let length = available(at: offset, count: min(count, bytes.byteCount))
        guard length > 0 else { return }
        // `length` bytes exist on both sides; a caller's span cannot overlap memory that no span ever covers.
        unsafe bytes.withUnsafeBytes { source in
            unsafe UnsafeMutableRawBufferPointer(start: base + offset, count: length)
                .copyMemory(from: UnsafeRawBufferPointer(rebasing: source[..<length]))
        }
    }

    /// Appends up to `count` bytes from `offset` on; returns how many there were and `output` had room for.
    func append(at offset: Int, count: Int, to output: inout OutputRawSpan) -> Int {
        let length = min(available(at: offset, count: count), output.freeCapacity)
        guard length > 0 else { return 0 }
        // `length` bytes exist at `offset`, and as many are free behind the `initialized` ones of the output.
        unsafe output.withUnsafeMutableBytes { target, initialized in
            unsafe UnsafeMutableRawBufferPointer(rebasing: target[initialized..<(initialized + length)])
                .copyMemory(from: UnsafeRawBufferPointer(start: base + offset, count: length))
            initialized += length
        }
        return length
    }

    /// Copies bytes from `offset` on to the start of `target`; returns how many there were room for.
    func copy(at offset: Int, into target: inout MutableRawSpan) -> Int {
        let length = available(at: offset, count: target.byteCount)
        guard length > 0 else { return 0 }
        // `length` bytes exist on both sides.
        unsafe target.withUnsafeMutableBytes { target in
            unsafe target.copyMemory(from: UnsafeRawBufferPointer(start: base + offset, count: length))
        }
        return length
    }
}

extension RawSpan {
    /// The byte at `index`; 0 outside.
    func byte(at index: Int) -> UInt8 {
        guard index >= 0, index < byteCount else { return 0 }
        // In range by the line above, and every byte is a UInt8.
        return unsafe unsafeLoad(fromByteOffset: index, as: UInt8.self)
    }
}

extension PCICapability {
    /// Calls `body` with the capability's bytes.
    func withBytes<Result>(_ body: (RawSpan) throws(Errno) -> Result) throws(Errno) -> Result {
        // Bytes of an array of UInt8 are initialized and have no padding.
        try body(unsafe bytes.span.bytes)
    }
}
