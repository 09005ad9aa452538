package import SystemPackage

/// A part of a region that a client can map, in bytes from the region's start.
package struct MappableArea: WirePayload, BitwiseCopyable {
    package static var byteCount: Int { 16 }

    package var offset: UInt64
    package var size: UInt64

    package init(offset: UInt64, size: UInt64) {
        self.offset = offset
        self.size = size
    }

    package init(decoding reader: inout Reader) throws(Errno) {
        try reader.require(Self.byteCount)
        offset = reader.uint64()
        size = reader.uint64()
    }

    package func encode(into writer: inout Writer) throws(Errno) {
        try writer.require(Self.byteCount)
        writer.put(offset)
        writer.put(size)
    }
}

/// The whole reply to DEVICE_GET_REGION_INFO: the struct and, if the client has room for it, the capability
/// chain with the region's mappable areas. The only capability is "sparse mmap", id 1, version 1.
///
/// Source: vfio-user protocol, DEVICE_GET_REGION_INFO; `struct vfio_region_info_cap_sparse_mmap` of Linux
/// VFIO.
package struct RegionInfoReply: Equatable, Sendable {
    /// The struct. When decoded: as received, `areas` says what its chain contains.
    package var info: RegionInfo
    package var areas: [MappableArea]

    private static let sparseMmapID: UInt16 = 1
    private static let capabilityHeaderByteCount = 8
    private static let sparseMmapHeaderByteCount = 16

    /// A reply to a request with this `argsz`.
    ///
    /// `argsz`, `capOffset` and the flag `caps` of the struct are set here; a region of size 0 has no
    /// areas. One fd travels with the reply exactly if `caps` is set.
    package init(_ info: RegionInfo, areas: [MappableArea], requestArgsz: UInt32) {
        let areas = info.size == 0 ? [] : areas
        let complete = Self.byteCount(areaCount: areas.count)
        self.info = info
        self.info.argsz = UInt32(clamping: complete)
        if !areas.isEmpty && requestArgsz >= complete {
            self.info.flags.insert(.caps)
            self.info.capOffset = RegionInfo.argumentByteCount
            self.areas = areas
        } else {
            self.info.flags.remove(.caps)
            self.info.capOffset = 0
            self.areas = []
        }
        byteCount = max(RegionInfo.byteCount, min(complete, Int(requestArgsz)))
    }

    /// Bytes of the reply's payload: the smaller of what the answer needs and what the client takes.
    package let byteCount: Int

    /// Bytes of a reply with all these areas.
    package static func byteCount(areaCount: Int) -> Int {
        guard areaCount > 0 else { return RegionInfo.byteCount }
        let (areas, overflow) = areaCount.multipliedReportingOverflow(by: MappableArea.byteCount)
        guard !overflow, areas < Int(UInt32.max) else { return Int(UInt32.max) }
        return RegionInfo.byteCount + sparseMmapHeaderByteCount + areas
    }

    /// Adds the reply, zero padded to `byteCount`.
    package func encode(into writer: inout Writer) throws(Errno) {
        try writer.require(byteCount)
        let start = writer.written
        try info.encode(into: &writer)
        if !areas.isEmpty {
            try writer.require(Self.sparseMmapHeaderByteCount)
            writer.put(Self.sparseMmapID)
            writer.put(1 as UInt16)  // version
            writer.put(0 as UInt32)  // no next capability
            writer.put(UInt32(clamping: areas.count))
            writer.put(0 as UInt32)  // reserved
            for area in areas { try area.encode(into: &writer) }
        }
        let padding = byteCount - (writer.written - start)
        if padding > 0 { try writer.appendZeros(padding) }
    }

    /// Decodes a reply; the reader must be at the payload's start. Unknown capabilities are skipped.
    ///
    /// - Throws: EINVAL for a chain that leaves the payload, does not ascend or lists areas twice.
    package init(decoding reader: inout Reader) throws(Errno) {
        let payload = reader.rest()
        var fields = Reader(payload)
        info = try RegionInfo(decoding: &fields)
        areas = []
        byteCount = payload.byteCount
        guard info.flags.contains(.caps), info.capOffset != 0 else { return }

        var end = RegionInfo.byteCount
        var position = Int(info.capOffset)
        var hasAreas = false
        while position != 0 {
            // No capability begins inside the header of the one before: the chain ends.
            guard position >= end else { throw .invalidArgument }
            var capability = Reader(payload)
            _ = try capability.take(position)
            try capability.require(Self.capabilityHeaderByteCount)
            let id = capability.uint16()
            _ = capability.uint16()  // version
            let next = Int(capability.uint32())
            if id == Self.sparseMmapID {
                // One list only, or overlapping ones could make a short payload a long list.
                guard !hasAreas else { throw .invalidArgument }
                hasAreas = true
                areas = try Self.decodeAreas(&capability)
            }
            end = position + Self.capabilityHeaderByteCount
            position = next
        }
    }

    private static func decodeAreas(_ reader: inout Reader) throws(Errno) -> [MappableArea] {
        try reader.require(sparseMmapHeaderByteCount - capabilityHeaderByteCount)
        let count = Int(reader.uint32())
        _ = reader.uint32()  // reserved
        guard count <= reader.remaining / MappableArea.byteCount else { throw .invalidArgument }
        var areas: [MappableArea] = []
        areas.reserveCapacity(count)
        for _ in 0..<count { areas.append(try MappableArea(decoding: &reader)) }
        return areas
    }
}
