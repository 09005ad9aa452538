internal import SystemPackage

extension ConfigSpace {
    /// A write into a capability, behind its protected bytes and within its end.
    func write(
        _ write: PartialWrite, _ bytes: RawSpan, to capability: Capability
    ) throws(Errno) -> WriteEffect {
        let start = write.offset - capability.offset
        guard start >= 0, start <= capability.size - write.length else { throw .invalidArgument }
        switch capability.type {
        case .powerManagement: try writePowerManagement(write, bytes, at: start)
        case .msi: try writeMSI(write, bytes, of: capability)
        case .msix: writeMSIX(write, bytes, of: capability)
        case .express: return try writeExpress(write, bytes, at: start, of: capability)
        case .vendor, .extendedVendor: storage.store(bytes, count: write.length, at: write.offset)
        case .serialNumber: throw .notPermitted
        }
        return .none
    }

    /// Only the whole of control/status takes writes, all 16 bits of it. The power state has no effect.
    private func writePowerManagement(_ write: PartialWrite, _ bytes: RawSpan, at start: Int) throws(Errno) {
        switch (start, write.length) {
        case (4, 2): storage.store16(merged16(write, bytes, at: write.offset), at: write.offset)
        case (2, 2), (6, 1), (7, 1): throw .notSupported
        default: throw .invalidArgument
        }
    }

    /// Any length and alignment. Enable is stored before the number of vectors is checked, the rest after it.
    private func writeMSI(_ write: PartialWrite, _ bytes: RawSpan, of capability: Capability) throws(Errno) {
        let control = capability.offset + 2
        let old = storage.load16(at: control)
        let new = merged16(write, bytes, at: control)
        let enabled = old & ~0x0001 | new & 0x0001
        storage.store16(enabled, at: control)
        // Numbers of vectors are logarithms, at most 5 for 32.
        let vectors = new >> 4 & 7
        if vectors != old >> 4 & 7 {
            guard vectors <= 5, vectors <= old >> 1 & 7 else { throw .invalidArgument }
            storage.store16(enabled & ~0x0070 | vectors << 4, at: control)
        }
        let address = capability.offset + 4
        let lowBits = storage.load32(at: address) & 0x3
        storage.store32(merged(write, bytes, at: address, count: 4) & ~0x3 | lowBits, at: address)
        let upperAddress = capability.offset + 8
        storage.store32(merged(write, bytes, at: upperAddress, count: 4), at: upperAddress)
        let data = capability.offset + 12
        storage.store16(merged16(write, bytes, at: data), at: data)
        let mask = capability.offset + 16
        storage.store32(merged(write, bytes, at: mask, count: 4), at: mask)
    }

    /// Any length and alignment; only function mask and enable, the two top bits of control, change.
    private func writeMSIX(_ write: PartialWrite, _ bytes: RawSpan, of capability: Capability) {
        let control = capability.offset + 2
        let new = merged16(write, bytes, at: control)
        storage.store16(storage.load16(at: control) & 0x3fff | new & 0xc000, at: control)
    }

    /// Two bytes at a time, and only at the registers named here.
    private func writeExpress(
        _ write: PartialWrite, _ bytes: RawSpan, at start: Int, of capability: Capability
    ) throws(Errno) -> WriteEffect {
        guard write.length == 2 else { throw .invalidArgument }
        let value = merged16(write, bytes, at: write.offset)
        switch start {
        case CapabilityType.expressDeviceControl:
            let old = storage.load16(at: write.offset)
            storage.store16(old & 0x8000 | value & 0x7fff, at: write.offset)
            guard value & 0x8000 != 0 else { return .none }
            // Device Capabilities says whether the function can be reset.
            guard storage.load32(at: capability.offset + 4) & 1 << 28 != 0 else { throw .invalidArgument }
            return .functionLevelReset
        case 0x28, 0x30:  // Device Control 2, Link Control 2
            storage.store16(value, at: write.offset)
        case 0x10, 0x18, 0x1c, 0x38:  // Link, Slot and Root Control, Slot Control 2
            break
        default: throw .invalidArgument
        }
        return .none
    }
}
