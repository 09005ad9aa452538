internal import Glibc
internal import SystemPackage
internal import VFIOUserAddressSpace
internal import VFIOUserSystem
internal import VFIOUserTransport
internal import VFIOUserWire

extension DeviceServer {
    /// DMA_MAP: adds a mapping to the compatibility IOAS.
    func mapDMA(_ request: inout Reader) throws(Errno) {
        guard doesDMA else { return }
        var descriptors = inbound.takeDescriptors()
        let map = try DMAMap(decoding: &request)
        _ = try compatibilitySpace()
        let mapped = try spaces.map(
            LegacyMap(flags: map.flags.rawValue, offset: map.offset, address: map.address, size: map.size),
            descriptors.take(at: 0))
        if mapped.mapping.ioas == spaces.attachedID { announce(mapped.mapping) }
    }

    /// The address space that both commands change.
    ///
    /// - Throws: `EOPNOTSUPP` in IOAS mode without the feature, `ENODEV` there is none.
    private func compatibilitySpace() throws(Errno) -> UInt32 {
        if let features = connection?.ioas { try require(.compatIOAS, of: features) }
        guard let space = spaces.compatibilityID else { throw Errno(rawValue: ENODEV) }
        return space
    }

    /// DMA_UNMAP: one mapping of the compatibility IOAS, or all.
    func unmapDMA(_ request: inout Reader, _ reply: inout Writer) throws(Errno) {
        guard doesDMA else { return }
        let unmap = try DMAUnmap(decoding: &request)
        let space = try compatibilitySpace()
        // As numbers: comparing option sets of another module is not specialized.
        let flags = unmap.flags.rawValue
        if flags == DMAUnmap.Flags.all.rawValue {
            guard unmap.address == 0, unmap.size == 0 else { throw .invalidArgument }
            removeAll(in: space)
            try unmap.encode(into: &reply)
            return
        }
        guard flags == DMAUnmap.Flags.getDirtyBitmap.rawValue else {
            guard flags == 0 else { throw .invalidArgument }
            let mapping = try spaces.mapping(in: space, exactly: unmap.address, unmap.size)
            try unmap.encode(into: &reply)
            remove(mapping)
            return
        }
        // Only what the device sees is tracked.
        guard space == spaces.attachedID else { throw .invalidArgument }
        var report = try reportDirtyPages(unmap)
        let mapping = try spaces.mapping(in: space, exactly: unmap.address, unmap.size)
        try reply.require(unmap.replyByteCount)
        // What the device writes while it lets go counts, too.
        renounce(mapping)
        try unmap.encode(into: &reply)
        try report.append(to: &reply)
        remove(mapping)
    }
}
