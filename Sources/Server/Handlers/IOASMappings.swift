internal import SystemPackage
internal import VFIOUserAddressSpace
internal import VFIOUserSystem
internal import VFIOUserTransport
internal import VFIOUserWire

/// Commands about the mappings in an address space (iommufd extension of vfio-user).
extension DeviceServer {
    /// IOAS_MAP.
    func mapIOAS(
        _ request: inout Reader, _ descriptors: inout ReceivedFDs, _ features: IOASFeatures,
        _ reply: inout Writer
    ) throws(Errno) {
        var map = try VFIOUserWire.IOASMap(decoding: &request)
        let rights = try rights(map.flags, features)
        guard map.reserved == 0 else { throw .invalidArgument }
        let least = features.contains(.messageDMA) ? 0 : 1
        guard (least...1).contains(descriptors.count) else { throw .invalidArgument }

        let isFixed = map.flags.contains(.fixedIOVA)
        let wanted = VFIOUserAddressSpace.IOASMap(
            ioas: map.ioasID, rights: rights, userAddress: map.userVA, length: map.length,
            offset: map.offset, placement: placement(fixed: isFixed ? map.iova : nil))
        let mapping: Mapping
        if !isFixed, let allocator = iovaAllocator {
            mapping = try self.map(wanted, descriptors.take(at: 0), by: allocator)
        } else {
            mapping = try spaces.map(wanted, descriptors.take(at: 0))
        }
        map.argsz = VFIOUserWire.IOASMap.argumentByteCount
        map.iova = mapping.iova
        try map.encode(into: &reply)
        if mapping.ioas == spaces.attachedID { announce(mapping) }
    }

    /// IOAS_UNMAP: the mappings in a range, or all.
    func unmapIOAS(
        _ request: inout Reader, _ descriptors: Int, _ features: IOASFeatures, _ reply: inout Writer
    ) throws(Errno) {
        var unmap = try IOASUnmap(decoding: &request)
        let known = IOASUnmapFlags.known.rawValue
        try check(unmap.flags.rawValue, known: known, granted: known)
        try requireNone(unmap.reserved, descriptors: descriptors)
        let id = unmap.ioasID
        try spaces.require(id)
        if unmap.flags.contains(.all) {
            guard unmap.iova == 0, unmap.length == 0 else { throw .invalidArgument }
        }
        let isAll = unmap.flags.contains(.all) || unmap.iova == 0 && unmap.length == .max
        let bytes =
            isAll
            ? try spaces.allMappings(in: id).bytes
            : try spaces.mappings(in: id, within: unmap.iova, unmap.length).bytes
        if isAll {
            try unmapAll(in: id)
        } else {
            // Inside the range, as was found.
            try unmapRange(in: id, from: unmap.iova, through: unmap.iova &+ (unmap.length &- 1))
        }
        guard features.contains(.replyArguments) else { return }
        unmap.argsz = IOASUnmap.argumentByteCount
        unmap.length = bytes
        try unmap.encode(into: &reply)
    }

    private func unmapAll(in id: UInt32) throws(Errno) {
        guard id != spaces.attachedID else {
            removeAll(in: id)
            return
        }
        let ranges = allocatedRanges(in: id)
        try spaces.removeAll(in: id)
        free(ranges)
    }

    private func unmapRange(in id: UInt32, from first: UInt64, through last: UInt64) throws(Errno) {
        let serial = connectionSerial
        var next = spaces.firstMapping(in: id, from: first)
        while let mapping = next, mapping.iova <= last {
            let iova = mapping.iova
            remove(mapping)
            guard serial == connectionSerial else { throw .socketNotConnected }
            next = spaces.nextMapping(in: id, after: iova)
        }
    }

    /// IOAS_COPY.
    func copyIOAS(
        _ request: inout Reader, _ descriptors: Int, _ features: IOASFeatures, _ reply: inout Writer
    ) throws(Errno) {
        var copy = try IOASCopy(decoding: &request)
        try require(.copy, of: features)
        let rights = try rights(copy.flags, features)
        try requireNone(descriptors: descriptors)

        let isFixed = copy.flags.contains(.fixedIOVA)
        let placement = placement(fixed: isFixed ? copy.destinationIOVA : nil)
        let mapping: Mapping
        if !isFixed, let allocator = iovaAllocator {
            mapping = try self.copy(copy, rights, by: allocator)
        } else {
            mapping = try spaces.copy(
                from: copy.sourceID, copy.sourceIOVA, copy.length, to: copy.destinationID, placement, rights)
        }
        copy.argsz = IOASCopy.argumentByteCount
        copy.destinationIOVA = mapping.iova
        try copy.encode(into: &reply)
        if mapping.ioas == spaces.attachedID { announce(mapping) }
    }

    /// What MAP's and COPY's flags ask for.
    private func rights(_ flags: IOASMapFlags, _ features: IOASFeatures) throws(Errno) -> AccessRights {
        let fixed = IOASMapFlags.fixedIOVA.rawValue
        let known = IOASMapFlags.known.rawValue
        try check(
            flags.rawValue, known: known, granted: features.contains(.fixedIOVA) ? known : known & ~fixed)
        var rights: AccessRights = []
        if flags.contains(.readable) { rights.insert(.read) }
        if flags.contains(.writeable) { rights.insert(.write) }
        guard !rights.isEmpty else { throw .invalidArgument }
        return rights
    }
}

/// Where mappings go.
extension DeviceServer {
    /// By the client's choice or the policy. An allocator is asked when the memory is known; until then
    /// any will do.
    private func placement(fixed iova: UInt64?) -> Placement {
        let limits = memorySettings.limits
        if let iova {
            return .fixed(iova, allowed: limits.range(for: iova), alignment: limits.alignment)
        }
        switch memorySettings.iovas {
        case .serverAddress, .custom: return .serverAddress(otherwise: IOVAPolicy.defaultWindow)
        case .opaque(let window): return .lowestBlocks(window)
        }
    }

    private func map(
        _ request: VFIOUserAddressSpace.IOASMap, _ descriptor: consuming OwnedFD?,
        by allocator: any IOVAAllocator
    ) throws(Errno) -> Mapping {
        let backing = try spaces.prepare(request, descriptor)
        let memory = unsafe IOVARequest(
            addressSpace: request.ioas, size: request.length, address: backing.address,
            file: Self.file(backing.descriptorNumber), fileOffset: request.offset)
        var request = request
        request.placement = try ask(allocator, memory)
        do throws(Errno) {
            let mapping = try spaces.finish(backing, request)
            mapping.hasAllocatedIOVA = true
            return mapping
        } catch {
            takeBack(request.placement, memory, error, allocator)
            throw error
        }
    }

    private func copy(
        _ copy: IOASCopy, _ rights: AccessRights, by allocator: any IOVAAllocator
    ) throws(Errno) -> Mapping {
        let part = try spaces.source(
            of: copy.sourceID, copy.sourceIOVA, copy.length, to: copy.destinationID, placement(fixed: nil),
            rights)
        let memory = unsafe IOVARequest(
            addressSpace: copy.destinationID, size: copy.length, address: part.address,
            file: Self.file(part.descriptorNumber), fileOffset: part.fileOffset)
        let placement = try ask(allocator, memory)
        do throws(Errno) {
            let mapping = try spaces.copy(
                from: copy.sourceID, copy.sourceIOVA, copy.length, to: copy.destinationID, placement, rights)
            mapping.hasAllocatedIOVA = true
            return mapping
        } catch {
            takeBack(placement, memory, error, allocator)
            throw error
        }
    }

    private static func file(_ number: CInt) -> FileDescriptor? {
        number < 0 ? nil : FileDescriptor(rawValue: number)
    }

    /// Asks the device where memory goes.
    private func ask(_ allocator: any IOVAAllocator, _ memory: IOVARequest) throws(Errno) -> Placement {
        let serial = connectionSerial
        let iova = try allocator.allocateIOVA(for: memory, on: self)
        guard serial == connectionSerial else {
            // The device found its client gone.
            allocator.freeIOVA(iova, size: memory.size, on: self)
            throw .socketNotConnected
        }
        let limits = memorySettings.limits
        return .chosen(iova, allowed: limits.range(for: iova), alignment: limits.alignment)
    }

    /// Gives an IOVA back that was good but could not be used after all.
    private func takeBack(
        _ placement: Placement, _ memory: IOVARequest, _ error: Errno, _ allocator: any IOVAAllocator
    ) {
        guard case .chosen(let iova, _, _) = placement, error != .addressInUse, error != .invalidArgument
        else {
            return
        }
        allocator.freeIOVA(iova, size: memory.size, on: self)
    }
}
