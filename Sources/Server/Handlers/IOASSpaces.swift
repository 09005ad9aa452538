internal import Glibc
internal import SystemPackage
internal import VFIOUserAddressSpace
internal import VFIOUserTransport
internal import VFIOUserWire

/// Commands about address spaces as a whole (iommufd extension of vfio-user).
extension DeviceServer {
    /// IOAS_ALLOC.
    func allocateIOAS(_ request: inout Reader, _ descriptors: Int, _ reply: inout Writer) throws(Errno) {
        let alloc = try IOASAlloc(decoding: &request)
        try requireNone(alloc.flags, alloc.reserved, descriptors: descriptors)
        try IOASAlloc(ioasID: try spaces.allocate()).encode(into: &reply)
    }

    /// IOAS_DESTROY.
    func destroyIOAS(_ request: inout Reader, _ descriptors: Int) throws(Errno) {
        let destroy = try IOASDestroy(decoding: &request)
        try requireNone(destroy.flags, destroy.reserved, descriptors: descriptors)
        // The device sees nothing of it, so there is nothing to tell but the allocator.
        let ranges = allocatedRanges(in: destroy.ioasID)
        try spaces.destroy(destroy.ioasID)
        free(ranges)
    }

    /// BIND: there is one device behind the socket.
    func bindDevice(_ request: inout Reader, _ descriptors: Int, _ reply: inout Writer) throws(Errno) {
        let bind = try Bind(decoding: &request)
        try requireNone(bind.flags, descriptors: descriptors)
        guard connection?.isBound == false else { throw .fileExists }
        connection?.isBound = true
        try Bind(iommufd: bind.iommufd, deviceID: 1).encode(into: &reply)
    }

    /// ATTACH_PT: the device sees this address space from now on.
    func attachIOAS(
        _ request: inout Reader, _ descriptors: Int, _ features: IOASFeatures, _ reply: inout Writer
    ) throws(Errno) {
        let attach = try AttachPT(decoding: &request)
        try check(attach.flags.rawValue, known: AttachFlags.known.rawValue, granted: 0)
        try requireNone(attach.pasid, descriptors: descriptors)
        try self.attach(to: attach.ioasID)
        if features.contains(.replyArguments) { try AttachPT(ioasID: attach.ioasID).encode(into: &reply) }
    }

    /// DETACH_PT: the device sees no memory from now on.
    func detachIOAS(_ request: inout Reader, _ descriptors: Int) throws(Errno) {
        let detach = try DetachPT(decoding: &request)
        try check(detach.flags.rawValue, known: AttachFlags.known.rawValue, granted: 0)
        try requireNone(detach.pasid, detach.reserved, descriptors: descriptors)
        guard spaces.attachedID != nil else { throw .invalidArgument }
        try renounceAttached()
        try spaces.detach()
        telling { device.addressSpaceChanged(to: nil, on: self) }
    }

    /// IOVA_RANGES.
    func describeIOVAs(
        _ request: inout Reader, _ descriptors: Int, _ features: IOASFeatures, _ reply: inout Writer
    ) throws(Errno) {
        let query = try IOVARanges(decoding: &request)
        try require(.iovaRanges, of: features)
        try requireNone(query.flags, descriptors: descriptors)
        try spaces.require(query.ioasID)
        let limits = memorySettings.limits
        let answer = IOVARanges(
            ioasID: query.ioasID, rangeCount: UInt32(clamping: limits.ranges.count),
            alignment: limits.alignment)
        try answer.encode(into: &reply)
        guard query.argsz >= answer.argsz else { return }
        for range in limits.ranges {
            try IOVARanges.Range(start: range.lowerBound, last: range.upperBound).encode(into: &reply)
        }
    }

    /// COMPAT_IOAS: which address space DMA_MAP and DMA_UNMAP change.
    func compatibilityIOAS(
        _ request: inout Reader, _ descriptors: Int, _ features: IOASFeatures, _ reply: inout Writer
    ) throws(Errno) {
        var compat = try CompatIOAS(decoding: &request)
        try require(.compatIOAS, of: features)
        try requireNone(compat.flags, descriptors: descriptors)
        switch compat.operation {
        case .get:
            guard let id = spaces.compatibilityID else { throw .operationNotSupportedByDevice }
            compat.ioasID = id
        case .set: try spaces.setCompatibility(compat.ioasID)
        case .clear: try spaces.setCompatibility(nil)
        case nil: throw .invalidArgument
        }
        compat.argsz = CompatIOAS.argumentByteCount
        try compat.encode(into: &reply)
    }
}

extension DeviceServer {
    /// Attaches an address space in place of any other. The device is told first of all it loses, while it
    /// still sees that, then of all it gains, when it sees nothing else.
    ///
    /// - Throws: `ENOENT`, `ENOMEM`, with nothing changed and the device not told; `ENOTCONN` the device
    ///   found its client gone.
    private func attach(to id: UInt32) throws(Errno) {
        try spaces.require(id)
        if spaces.attachedID == id { return }
        try spaces.prepareAttach(id)
        try renounceAttached()
        try spaces.attach(id)
        let serial = connectionSerial
        telling { device.addressSpaceChanged(to: id, on: self) }
        guard serial == connectionSerial else { throw .socketNotConnected }
        var next = spaces.firstMapping(in: id)
        while let mapping = next {
            let iova = mapping.iova
            announce(mapping)
            guard serial == connectionSerial else { throw .socketNotConnected }
            next = spaces.nextMapping(in: id, after: iova)
        }
    }

    /// Tells the device that all it sees is about to go, in ascending order.
    ///
    /// - Throws: `ENOTCONN` the device found its client gone.
    private func renounceAttached() throws(Errno) {
        guard let id = spaces.attachedID else { return }
        let serial = connectionSerial
        var next = spaces.firstMapping(in: id)
        while let mapping = next {
            let iova = mapping.iova
            renounce(mapping)
            guard serial == connectionSerial else { throw .socketNotConnected }
            next = spaces.nextMapping(in: id, after: iova)
        }
    }
}
