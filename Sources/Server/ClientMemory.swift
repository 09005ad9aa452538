internal import VFIOUserAddressSpace

/// Telling the device which client memory it sees.
///
/// Whatever is called here calls the device, which may find that its client has gone: then everything of
/// the client is removed in the middle of it. A mapping notes whether the device knows it, so that each
/// end is told once.
extension DeviceServer {
    /// Tells the device of memory that it sees now.
    func announce(_ mapping: Mapping) {
        mapping.isRegistered = true
        telling { device.dmaRegionAdded(DMARegion(mapping), on: self) }
    }

    /// Tells the device, if it knows of the mapping, that it is about to go.
    func renounce(_ mapping: Mapping) {
        guard mapping.isLive, mapping.isRegistered else { return }
        mapping.isRegistered = false
        telling { device.dmaRegionRemoved(DMARegion(mapping), on: self) }
    }

    /// Tells the device, and then lets the memory go.
    func remove(_ mapping: Mapping) {
        renounce(mapping)
        guard mapping.isLive else { return }
        let range = mapping.hasAllocatedIOVA ? AllocatedRange(mapping) : nil
        spaces.retire(mapping)
        hasRetiredMemory = true
        if let range { free([range]) }
    }

    /// Unmaps what ``remove(_:)`` left. The replies have been sent: no client waits for the kernel to do that, and what
    /// went with several requests goes by one call.
    ///
    /// A server that polls all the time leaves a little, of neighbours that go one after the other, for when there is
    /// nothing else to do: it would keep the next request waiting.
    func settleMemory(isIdle: Bool = false) {
        guard hasRetiredMemory else { return }
        hasRetiredMemory = spaces.settle(tolerated: pollingTrust > 0 && !isIdle ? Self.toleratedMemory : 0)
    }

    /// Bytes of client memory that has gone and may be mapped still: less than a huge page.
    private static let toleratedMemory = (2 << 20) - 1

    /// Removes all memory of an address space, in ascending order.
    func removeAll(in space: UInt32) {
        while let mapping = spaces.firstMapping(in: space) { remove(mapping) }
    }

    /// Removes all client memory that the device sees, in ascending order.
    func removeAllDMARegions() {
        while let space = spaces.attachedID, let mapping = spaces.firstMapping(in: space) { remove(mapping) }
    }

    /// Removes all client memory and all address spaces.
    func forgetClientMemory() {
        removeAllDMARegions()
        let wasAttached = attachedIOAS != nil
        let ranges = iovaAllocator == nil ? [] : spaces.ids.flatMap(allocatedRanges)
        spaces.endConnection()
        if wasAttached { telling { device.addressSpaceChanged(to: nil, on: self) } }
        free(ranges)
    }
}

/// What an allocator is told of when it goes.
struct AllocatedRange {
    let iova: UInt64
    let size: UInt64

    init(_ mapping: Mapping) {
        iova = mapping.iova
        size = mapping.length
    }
}

extension DeviceServer {
    /// The device's own allocator of IOVAs.
    var iovaAllocator: (any IOVAAllocator)? {
        guard case .custom(let allocator) = memorySettings.iovas else { return nil }
        return allocator
    }

    /// The ranges in an address space that came from the allocator.
    func allocatedRanges(in space: UInt32) -> [AllocatedRange] {
        guard iovaAllocator != nil else { return [] }
        var ranges: [AllocatedRange] = []
        var next = spaces.firstMapping(in: space)
        while let mapping = next {
            if mapping.hasAllocatedIOVA { ranges.append(AllocatedRange(mapping)) }
            next = spaces.nextMapping(in: space, after: mapping.iova)
        }
        return ranges
    }

    /// Tells the allocator of mappings that have gone.
    func free(_ ranges: [AllocatedRange]) {
        guard let allocator = iovaAllocator else { return }
        for range in ranges { allocator.freeIOVA(range.iova, size: range.size, on: self) }
    }
}
