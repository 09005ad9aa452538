package import SystemPackage

extension ConfigSpace {
    /// The size in bytes of a capability that begins with `data`, to be known before its bytes can be read from a
    /// pointer. 3 bytes of a standard and 8 of an extended capability are enough. `ENOTSUP`: unknown id;
    /// `EINVAL`: its length field says less than its header takes.
    package static func capabilitySize(of data: RawSpan, extended: Bool) throws(Errno) -> Int {
        let type = try CapabilityType(id: capabilityID(of: data, extended: extended), extended: extended)
        guard let size = type.size(of: data) else { throw .invalidArgument }
        return size
    }

    private static func capabilityID(of data: RawSpan, extended: Bool) -> UInt16 {
        UInt16(data.byte(at: 0)) | (extended ? UInt16(data.byte(at: 1)) << 8 : 0)
    }

    /// Adds a capability with the bytes of `data`, which begins with its header; only the next field is replaced.
    /// More bytes than the capability's size are ignored. Returns its offset.
    ///
    /// At offset 0 it goes behind the last one of its list, or behind whatever is already there, at a multiple of 4.
    /// Elsewhere it goes exactly there; list order is the order of adding. Standard capabilities lie in
    /// 0x40..<0x100, the only space their list can express, extended ones above, the first at 0x100.
    ///
    /// Errors, in this order: `EINVAL` unknown flags, a callback flag while there is no callback, or an extended
    /// capability on a bus without them; `ENOSPC` 128 of its list exist; `ENOTSUP` unknown id; `EINVAL` `data`
    /// shorter than the capability, or a length field less than its header; `EINVAL` end at or behind the end of
    /// config space; `EINVAL` an offset outside its list's space, an overlap (ending exactly where another
    /// begins counts), an extended one not at a multiple of 4, or not at 0x100 as the first; `ENOSPC` no room
    /// behind the last one. `EINVAL` also if the program has edited the list so that it has no end. Nothing has
    /// changed then.
    @discardableResult
    package func addCapability(_ data: RawSpan, at offset: Int, flags: CapabilityFlags) throws(Errno) -> Int {
        guard flags.isSubset(of: .known) else { throw .invalidArgument }
        let extended = flags.contains(.extended)
        if flags.contains(.callback) && !hasCallback { throw .invalidArgument }
        if extended && !kind.hasExtendedCapabilities { throw .invalidArgument }
        guard capabilities.count(where: { $0.isExtended == extended }) < 128 else { throw .noSpace }
        let type = try CapabilityType(id: Self.capabilityID(of: data, extended: extended), extended: extended)
        guard let size = type.size(of: data), data.byteCount >= size else { throw .invalidArgument }
        guard offset >= 0, offset < self.size - size else { throw .invalidArgument }

        let tail = try listTail(extended: extended)
        let place =
            offset == 0
            ? try freePlace(behind: tail, size: size, extended: extended)
            : try checkedPlace(offset, size: size, extended: extended, isFirst: tail == nil)

        let capability = Capability(type: type, offset: place, size: size, flags: flags)
        storage.store(data, count: size, at: place)
        setNext(0, at: place, extended: extended)
        if let tail {
            setNext(place, at: tail, extended: extended)
        } else if !extended {
            storage.store8(UInt8(truncatingIfNeeded: place), at: HeaderOffset.capabilities)
        }
        insert(capability)
        return place
    }

    /// Adds a capability a device author made, at `offset` or, if that is 0, at the next free one. Errors as above.
    @discardableResult
    package func addCapability(_ capability: PCICapability, at offset: Int = 0) throws(Errno) -> Int {
        var flags: CapabilityFlags = []
        if capability.isExtended { flags.insert(.extended) }
        if capability.options.contains(.callback) { flags.insert(.callback) }
        if capability.options.contains(.readOnly) { flags.insert(.readOnly) }
        return try capability.withBytes { bytes throws(Errno) in
            try addCapability(bytes, at: offset, flags: flags)
        }
    }

    /// Whether a new capability may go exactly there.
    private func checkedPlace(_ offset: Int, size: Int, extended: Bool, isFirst: Bool) throws(Errno) -> Int {
        if extended {
            guard offset >= 0x100, offset % 4 == 0, !isFirst || offset == 0x100 else {
                throw .invalidArgument
            }
        } else {
            guard offset >= HeaderOffset.end, offset + size <= 0x100 else { throw .invalidArgument }
        }
        guard capabilities.allSatisfy({ offset >= $0.end || offset + size < $0.offset }) else {
            throw .invalidArgument
        }
        return offset
    }

    /// The first free place behind the last capability of the list.
    private func freePlace(behind tail: Int?, size: Int, extended: Bool) throws(Errno) -> Int {
        var place = extended ? 0x100 : HeaderOffset.end
        if let tail { place = roundedUp(try entryEnd(at: tail, extended: extended)) }
        // In order of address, so one pass is enough.
        for other in capabilities where place < other.end && other.offset < place + size {
            place = roundedUp(other.end)
        }
        guard place + size <= (extended ? self.size : 0x100) else { throw .noSpace }
        if extended && tail == nil && place != 0x100 { throw .noSpace }
        return place
    }

    private func roundedUp(_ offset: Int) -> Int { (offset + 3) & ~3 }

    /// The end of a list entry, which may be one that the program wrote itself.
    private func entryEnd(at offset: Int, extended: Bool) throws(Errno) -> Int {
        if let known = capabilities.first(where: { $0.offset == offset }) { return known.end }
        let id = extended ? storage.load16(at: offset) : UInt16(storage.load8(at: offset))
        // No one can tell where an entry of unknown size ends.
        guard let type = try? CapabilityType(id: id, extended: extended) else { throw .invalidArgument }
        let size =
            switch type {
            case .vendor: Int(storage.load8(at: offset + 2))
            case .extendedVendor: Int(storage.load16(at: offset + 6) >> 4)
            default: type.size(of: RawSpan()) ?? 0
            }
        return offset + max(size, type.protectedBytes)
    }

    private func setNext(_ next: Int, at offset: Int, extended: Bool) {
        guard extended else {
            storage.store8(UInt8(truncatingIfNeeded: next), at: offset + 1)
            return
        }
        let header = storage.load32(at: offset) & 0x000f_ffff
        storage.store32(header | UInt32(truncatingIfNeeded: next) << 20, at: offset)
    }
}
