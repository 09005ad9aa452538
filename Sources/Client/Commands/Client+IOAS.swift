public import SystemPackage
internal import VFIOUserTransport
internal import VFIOUserWire

/// The commands of IOAS mode that concern address spaces as a whole; ``map(_:into:at:range:rights:sharing:)`` and
/// so on change what is in them.
///
/// Source: iommufd extension of vfio-user. All of them throw `ENOTSUP`, and send nothing, on a connection
/// in legacy mode and where the feature they need was not granted (``ServerDescription/ioas``), `ENOENT` for an
/// address space that there is not, and `EPROTO`, `ENOTCONN` and `ETIMEDOUT` as every call.
extension Client {
    /// Makes an empty address space (IOAS_ALLOC).
    ///
    /// - Throws: `ENOSPC` the server allows no more.
    public func allocateIOAS() throws(Errno) -> IOAS {
        try require()
        let reply = try exchange(.ioasAlloc, IOASAlloc())
        // 0 never is one.
        guard reply.ioasID != 0 else { throw .protocolError }
        return IOAS(rawValue: reply.ioasID)
    }

    /// Gives an address space up, and everything in it (IOAS_DESTROY).
    ///
    /// - Throws: `EBUSY` it is attached.
    public func destroy(_ ioas: IOAS) throws(Errno) {
        try require()
        try carryOut(.ioasDestroy, IOASDestroy(ioasID: ioas.rawValue))
        responder.table.destroy(ioas.rawValue)
    }

    /// Names the device behind the socket (BIND). Not needed for anything.
    ///
    /// - Returns: the device's id, 1.
    /// - Throws: `EEXIST` it was done already.
    @discardableResult
    public func bind() throws(Errno) -> UInt32 {
        try require()
        return try exchange(.bind, Bind()).deviceID
    }

    /// Has the device see an address space, in place of any other (ATTACH_PT).
    ///
    /// DMA_READ and DMA_WRITE of the server find the memory of this one from then on, and of both meanwhile.
    ///
    /// - Throws: `EINVAL` the device does no DMA; the errno with which it refuses to quiesce.
    public func attach(_ ioas: IOAS) throws(Errno) {
        let features = try require()
        let request = AttachPT(ioasID: ioas.rawValue)
        try responder.table.attach(ioas.rawValue) { () throws(Errno) in
            guard features.contains(.replyArguments) else { return try carryOut(.attachPT, request) }
            guard try exchange(.attachPT, request).ioasID == ioas.rawValue else { throw .protocolError }
        }
    }

    /// Has the device see no memory (DETACH_PT). The address space and its mappings stay.
    ///
    /// - Throws: `EINVAL` nothing is attached; the errno with which the device refuses to quiesce.
    public func detach() throws(Errno) {
        try require()
        try responder.table.attach(nil) { () throws(Errno) in try carryOut(.detachPT, DetachPT()) }
    }

    /// Asks which IOVAs there may be in an address space (IOVA_RANGES). Needs ``IOASFeatures/iovaRanges``.
    public func iovaRanges(of ioas: IOAS) throws(Errno) -> IOVARanges {
        try require(.iovaRanges)
        // Room for all but odd servers' ranges; asked again for more.
        var room = VFIOUserWire.IOVARanges.replyByteCount(rangeCount: 16)
        for _ in 0..<2 {
            let request = VFIOUserWire.IOVARanges(ioasID: ioas.rawValue, argsz: UInt32(room))
            let (needed, answer) = try channel.exchange(.iovaRanges, request) { payload, _ throws(Errno) in
                try decodingReply { () throws(Errno) in try Self.ranges(payload) }
            }
            if let answer { return answer }
            guard needed > room, needed <= Int(Limits.maxArgumentByteCount) else { break }
            room = needed
        }
        throw .protocolError
    }

    /// Takes a reply apart.
    ///
    /// - Returns: how long a reply with all ranges is, and the ranges if this one has them.
    private static func ranges(_ payload: RawSpan) throws(Errno) -> (Int, IOVARanges?) {
        var reader = Reader(payload)
        let head = try VFIOUserWire.IOVARanges(decodingReply: &reader)
        guard head.alignment.nonzeroBitCount == 1 else { throw .protocolError }
        let needed = VFIOUserWire.IOVARanges.replyByteCount(rangeCount: head.rangeCount)
        guard reader.remaining > 0 || head.rangeCount == 0 else { return (needed, nil) }
        var ranges: [ClosedRange<UInt64>] = []
        for _ in 0..<head.rangeCount {
            let range = try VFIOUserWire.IOVARanges.Range(decoding: &reader)
            guard range.start <= range.last else { throw .protocolError }
            ranges.append(range.start...range.last)
        }
        return (needed, IOVARanges(ranges: ranges, alignment: head.alignment))
    }

    /// Asks which address space DMA_MAP and DMA_UNMAP change (COMPAT_IOAS, GET); nil if none does. Needs
    /// ``IOASFeatures/compatibility``.
    public func compatibilityIOAS() throws(Errno) -> IOAS? {
        try require(.compatibility)
        let reply: CompatIOAS
        do throws(Errno) {
            reply = try exchange(.compatIOAS, CompatIOAS(.get))
        } catch .operationNotSupportedByDevice {
            return nil
        }
        return IOAS(rawValue: reply.ioasID)
    }

    /// Has DMA_MAP and DMA_UNMAP change an address space, or (nil) fail with `ENODEV` (COMPAT_IOAS, SET and
    /// CLEAR). Needs ``IOASFeatures/compatibility``.
    public func setCompatibilityIOAS(_ ioas: IOAS?) throws(Errno) {
        try require(.compatibility)
        let request = ioas.map { CompatIOAS(.set, ioasID: $0.rawValue) } ?? CompatIOAS(.clear)
        _ = try exchange(.compatIOAS, request)
        responder.table.compatible = ioas?.rawValue
    }
}

extension Client {
    /// What was granted of IOAS mode, which must include these.
    ///
    /// - Throws: `ENOTSUP`.
    @discardableResult
    func require(_ needed: IOASFeatures = []) throws(Errno) -> IOASFeatures {
        guard let granted = server.ioas, granted.isSuperset(of: needed) else { throw .notSupported }
        return granted
    }

    /// Sends a command whose reply is its own struct with outputs filled in.
    func exchange<Payload: WirePayload>(
        _ command: Command, _ payload: Payload, descriptors: [CInt] = []
    ) throws(Errno) -> Payload {
        try channel.exchange(command, payload, descriptors: descriptors) { reply, _ throws(Errno) in
            try decodingReply { () throws(Errno) in
                var reader = Reader(reply)
                return try Payload(decoding: &reader)
            }
        }
    }

    /// Sends a command whose reply says nothing but that it is done.
    func carryOut(_ command: Command, _ payload: some WirePayload) throws(Errno) {
        try channel.exchange(command, payload) { _, _ throws(Errno) in }
    }
}
