package import SystemPackage

extension ConfigSpace {
    /// Who handles a segment of an access.
    package enum Handler: Sendable, Hashable {
        /// A read of memory: `read(_:into:)`.
        case memory
        /// A write to a header register: `write(_:from:)`.
        case register(HeaderRegister)
        /// A write into a capability: `write(_:from:)`.
        case capability(Capability)
        /// The program's callback for the config region, with the segment's offset and length. It may take less
        /// than the whole; ask for the next segment behind what it took.
        case callback
        /// Nobody: the request fails with this error. Segments before this one stay done.
        case refused(Errno)
    }

    /// A run of bytes of one access, all handled by the same party.
    package struct Segment: Sendable, Hashable {
        /// Bytes from the start of config space.
        package let offset: Int
        /// At least 1, except for an access of no bytes.
        package let length: Int
        package let handler: Handler
    }

    /// What the server has to do after a write.
    package enum WriteEffect: Sendable, Hashable {
        case none
        /// The client asked for a function-level reset: call the device's reset callback. The bytes are written.
        case functionLevelReset
    }

    /// The first segment of an access of `remaining` bytes at `offset`. Ask again from its end, in order of
    /// address; stop at a refusal. Whatever lies outside config space is refused with `EINVAL`.
    ///
    /// Capabilities are found in order of address, and a segment never leaves the one it starts in.
    package func segment(at offset: Int, remaining: Int, write: Bool) -> Segment {
        guard offset >= 0, offset <= size, remaining >= 0, offset < size || remaining == 0 else {
            return Segment(offset: offset, length: max(remaining, 0), handler: .refused(.invalidArgument))
        }
        let length = min(remaining, size - offset)
        // Without a callback all reads come from memory. So does an access of no bytes, which does nothing.
        if length == 0 || !write && !hasCallback {
            return Segment(offset: offset, length: length, handler: .memory)
        }
        if offset < HeaderOffset.end {
            return headerSegment(at: offset, length: length, write: write)
        }
        guard let capability = capabilities.first(where: { $0.end > offset }) else {
            return Segment(offset: offset, length: length, handler: otherSpace(write: write))
        }
        guard capability.offset <= offset else {
            let gap = min(length, capability.offset - offset)
            return Segment(offset: offset, length: gap, handler: otherSpace(write: write))
        }
        return Segment(
            offset: offset, length: min(length, capability.end - offset),
            handler: handler(in: capability, at: offset, write: write))
    }

    private func headerSegment(at offset: Int, length: Int, write: Bool) -> Segment {
        guard write else {
            return Segment(offset: offset, length: min(length, HeaderOffset.end - offset), handler: .memory)
        }
        guard let (register, size) = HeaderRegister.starting(at: offset) else {
            return Segment(offset: offset, length: length, handler: .refused(.invalidArgument))
        }
        return Segment(offset: offset, length: min(length, size), handler: .register(register))
    }

    /// Space that is neither header nor capability belongs to the callback, if there is one.
    private func otherSpace(write: Bool) -> Handler {
        if hasCallback { return .callback }
        return write ? .refused(.invalidArgument) : .memory
    }

    private func handler(in capability: Capability, at offset: Int, write: Bool) -> Handler {
        if write && capability.flags.contains(.readOnly) { return .refused(.notPermitted) }
        if capability.flags.contains(.callback) { return otherSpace(write: write) }
        guard write else { return .memory }
        if offset - capability.offset < capability.type.protectedBytes { return .refused(.notPermitted) }
        return .capability(capability)
    }

    /// Appends the bytes of a `.memory` segment to `output`. Returns how many, less than its length only if
    /// `output` is too small.
    @discardableResult
    package func read(_ segment: Segment, into output: inout OutputRawSpan) -> Int {
        storage.append(at: segment.offset, count: segment.length, to: &output)
    }

    /// Copies bytes from `offset` on to the start of `target`. Returns how many there were.
    @discardableResult
    package func read(at offset: Int, into target: inout MutableRawSpan) -> Int {
        storage.copy(at: offset, into: &target)
    }

    /// Writes `bytes`, exactly those of a `.register` or `.capability` segment.
    ///
    /// In a write that covers a register only in part, its other bytes count as written with their present values.
    ///
    /// Errors: what the register or capability refuses; `EINVAL` for other segments and for a wrong count.
    package func write(_ segment: Segment, from bytes: RawSpan) throws(Errno) -> WriteEffect {
        guard bytes.byteCount == segment.length else { throw .invalidArgument }
        let write = PartialWrite(offset: segment.offset, length: segment.length)
        switch segment.handler {
        case .register(let register):
            try self.write(write, bytes, to: register)
            return .none
        case .capability(let capability):
            return try self.write(write, bytes, to: capability)
        case .refused(let error): throw error
        case .memory, .callback: throw .invalidArgument
        }
    }

    /// Whether a write at exactly this offset may reset the function, so that the device has to be quiesced first,
    /// before the write is looked at: offset 8, Device Control, of a PCI Express capability.
    package func isDeviceControl(_ offset: Int) -> Bool {
        if capabilities.contains(where: { $0.type == .express && $0.deviceControl == offset }) { return true }
        guard let listed = try? findCapability(Int(CapabilityType.express.id), extended: false) else {
            return false
        }
        return listed + CapabilityType.expressDeviceControl == offset
    }
}

/// Where a write lies; its bytes travel apart.
struct PartialWrite {
    let offset: Int
    let length: Int
}

extension ConfigSpace {
    /// The `count` bytes (at most 4) at `address` as they would be after the write: its own, and memory's elsewhere.
    func merged(_ write: PartialWrite, _ bytes: RawSpan, at address: Int, count: Int) -> UInt32 {
        var value: UInt32 = 0
        for index in 0..<min(count, 4) {
            let place = address &+ index
            let byte =
                place >= write.offset && place - write.offset < write.length
                ? bytes.byte(at: place - write.offset) : storage.load8(at: place)
            value |= UInt32(byte) << UInt32(8 * index)
        }
        return value
    }

    func merged16(_ write: PartialWrite, _ bytes: RawSpan, at address: Int) -> UInt16 {
        UInt16(truncatingIfNeeded: merged(write, bytes, at: address, count: 2))
    }
}
