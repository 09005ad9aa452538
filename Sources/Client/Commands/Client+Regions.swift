public import SystemPackage
internal import VFIOUserSystem
internal import VFIOUserTransport
internal import VFIOUserWire

extension Client {
    /// A part of a region that can be mapped, bytes from the region's start.
    public struct MappableRange: Sendable, Equatable {
        /// First byte.
        public let offset: UInt64
        /// Bytes.
        public let size: UInt64

        /// A part by its first byte and its length.
        public init(offset: UInt64, size: UInt64) {
            self.offset = offset
            self.size = size
        }
    }

    /// What DEVICE_GET_REGION_INFO says about a region.
    public struct RegionDescription: Sendable {
        /// Which region.
        public let region: Region
        /// Bytes; 0 if the device has no such region.
        public let size: UInt64
        /// It can be read.
        public let isReadable: Bool
        /// It can be written.
        public let isWritable: Bool
        /// What can be mapped, all inside the region. Empty if nothing can.
        public let areas: [MappableRange]
        /// The file behind the areas, if it came.
        public let file: OwnedFile?
        /// Where the region begins in its file, bytes.
        public let fileOffset: UInt64
        /// All flags as received.
        public let flags: UInt32
    }

    /// Asks about a region (DEVICE_GET_REGION_INFO), again if the answer was longer than expected.
    ///
    /// - Throws: `EPROTO` also for areas that are not inside the region.
    public func regionInfo(_ region: Region) throws(Errno) -> RegionDescription {
        // Room for the areas of all but odd devices.
        var (reply, file) = try regionInfo(region, argumentSize: 512)
        if reply.info.argsz > 512 {
            let room = min(reply.info.argsz, Limits.maxArgumentByteCount)
            (reply, file) = try regionInfo(region, argumentSize: room)
        }
        let info = reply.info
        guard info.index == region.rawValue else { throw .protocolError }
        var areas: [MappableRange] = []
        if info.flags.contains(.mmap) {
            for area in reply.areas {
                guard area.offset <= info.size, area.size <= info.size - area.offset else {
                    throw .protocolError
                }
                areas.append(MappableRange(offset: area.offset, size: area.size))
            }
            // A region that names no areas can be mapped as a whole.
            if areas.isEmpty, file != nil, info.size > 0 {
                areas = [MappableRange(offset: 0, size: info.size)]
            }
        }
        return RegionDescription(
            region: region, size: info.size, isReadable: info.flags.contains(.read),
            isWritable: info.flags.contains(.write), areas: areas, file: file, fileOffset: info.offset,
            flags: info.flags.rawValue)
    }

    private func regionInfo(
        _ region: Region, argumentSize: UInt32
    ) throws(Errno) -> (RegionInfoReply, OwnedFile?) {
        let request = RegionInfo(index: region.rawValue, argsz: argumentSize)
        return try channel.exchange(.deviceGetRegionInfo, request) { payload, files throws(Errno) in
            let reply = try decodingReply { () throws(Errno) in
                var reader = Reader(payload)
                return try RegionInfoReply(decoding: &reader)
            }
            return (reply, files.takeFile(at: 0))
        }
    }

    /// Maps a region's mappable area.
    ///
    /// - Throws: those of ``regionInfo(_:)`` and ``MappedRegion/init(_:area:)``.
    public func mapRegion(_ region: Region, area: Int = 0) throws(Errno) -> MappedRegion {
        try MappedRegion(regionInfo(region), area: area)
    }
}

extension ReceivedFDs {
    /// Moves a descriptor to an owner that can be shared.
    mutating func takeFile(at index: Int) -> OwnedFile? {
        guard let file = take(at: index) else { return nil }
        return OwnedFile(file)
    }
}
