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
        let mapped = try spaces.map(
            LegacyMap(flags: map.flags.rawValue, offset: map.offset, address: map.address, size: map.size),
            descriptors.take(at: 0))
        telling { device.dmaRegionAdded(DMARegion(mapped.mapping), on: self) }
    }

    /// DMA_UNMAP: one mapping of the compatibility IOAS, or all.
    func unmapDMA(_ request: inout Reader, _ reply: inout Writer) throws(Errno) {
        guard doesDMA else { return }
        let unmap = try DMAUnmap(decoding: &request)
        switch unmap.flags {
        case [], .getDirtyBitmap: break
        case .all:
            guard unmap.address == 0, unmap.size == 0 else { throw .invalidArgument }
            removeAllDMARegions()
            try unmap.encode(into: &reply)
            return
        default: throw .invalidArgument
        }
        guard let space = spaces.compatibilityID else { throw Errno(rawValue: ENODEV) }
        guard unmap.flags.contains(.getDirtyBitmap) else {
            let mapping = try spaces.mapping(in: space, exactly: unmap.address, unmap.size)
            try unmap.encode(into: &reply)
            remove(mapping)
            return
        }
        var report = try reportDirtyPages(unmap)
        let mapping = try spaces.mapping(in: space, exactly: unmap.address, unmap.size)
        try reply.require(unmap.replyByteCount)
        // What the device writes while it lets go counts, too.
        telling { device.dmaRegionRemoved(DMARegion(mapping), on: self) }
        try unmap.encode(into: &reply)
        try report.append(to: &reply)
        if mapping.isLive { spaces.remove(mapping) }
    }

    /// Tells the device, and then lets the memory go.
    private func remove(_ mapping: Mapping) {
        telling { device.dmaRegionRemoved(DMARegion(mapping), on: self) }
        // The device's author may have closed the server, and everything with it.
        if mapping.isLive { spaces.remove(mapping) }
    }

    /// Removes all client memory that the device sees, in ascending order.
    func removeAllDMARegions() {
        while let space = spaces.attachedID, let mapping = spaces.firstMapping(in: space) { remove(mapping) }
    }
}
