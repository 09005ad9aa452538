public import SystemPackage
internal import VFIOUserTransport
internal import VFIOUserWire

extension Client {
    /// A place in a region whose writes can be told to the device by a descriptor instead of a message.
    public struct RegionIOFD: Sendable {
        /// How the descriptor is used.
        public enum Kind: Sendable, Equatable {
            /// An eventfd.
            case ioEventFD
            /// A socket of KVM's ioregionfd.
            case ioRegionFD
            /// An eventfd, after the value was stored in shadow memory.
            case shadowIOEventFD
            /// A number without a name.
            case other(UInt32)
        }

        /// Offset in the region, bytes.
        public let offset: UInt64
        /// Bytes; 0 for accesses of any length.
        public let size: UInt64
        /// How the descriptor is used.
        public let kind: Kind
        /// KVM_IOEVENTFD flags.
        public let flags: UInt32
        /// The value a write must have to count, with the flag for it.
        public let dataMatch: UInt64
        /// The descriptor, if there is one; entries may share it.
        public let file: OwnedFile?
        /// The shadow memory's file.
        public let shadowFile: OwnedFile?
        /// Where the value goes in it, bytes.
        public let shadowOffset: UInt64

        /// Adds 1 to the eventfd.
        ///
        /// - Throws: `EBADF` there is none; the errno of `write`.
        public func signal() throws(Errno) {
            guard let file else { throw .badFileDescriptor }
            try file.signal()
        }

        /// Maps the shadow memory of this place: as many bytes as the place is long, 8 if any length goes.
        ///
        /// - Throws: `ENXIO` there is none; those of ``MappedMemory/init(sharing:offset:count:isWritable:)``.
        public func mapShadow() throws(Errno) -> MappedMemory {
            guard let shadowFile else { throw .noSuchAddressOrDevice }
            guard let count = Int(exactly: size == 0 ? 8 : size) else { throw .overflow }
            return try MappedMemory(sharing: shadowFile.descriptor, offset: shadowOffset, count: count)
        }
    }

    /// Asks for the descriptors of a region (DEVICE_GET_REGION_IO_FDS).
    ///
    /// - Throws: what the server answers; `EPROTO` also for an entry that names a descriptor which did not
    ///   come.
    public func regionIOFDs(_ region: Region) throws(Errno) -> [RegionIOFD] {
        // Room for a few; asked again for more.
        var argumentSize = UInt32(RegionIOFDs.replyByteCount(count: 16))
        for _ in 0..<2 {
            let reply = try perform(.regionIOFDs(region, argumentSize: argumentSize))
            var reader = Reader(reply.payload.span)
            guard let head = try? RegionIOFDs(decoding: &reader), head.index == region.rawValue else {
                throw .protocolError
            }
            if head.argsz > argumentSize {
                guard head.argsz <= Limits.maxArgumentByteCount else { throw .protocolError }
                argumentSize = head.argsz
                continue
            }
            guard reader.remaining == Int(head.count) * SubRegion.byteCount else { throw .protocolError }
            var result: [RegionIOFD] = []
            for _ in 0..<head.count {
                let entry = try decodingReply { () throws(Errno) in try SubRegion(decoding: &reader) }
                result.append(try Self.ioFD(entry, reply.files))
            }
            return result
        }
        throw .protocolError
    }

    private static func ioFD(_ entry: SubRegion, _ files: [OwnedFile]) throws(Errno) -> RegionIOFD {
        let isShadow = entry.kind == SubRegion.Kind.shadowIOEventFD.rawValue
        return RegionIOFD(
            offset: entry.offset, size: entry.size, kind: RegionIOFD.Kind(entry.kind), flags: entry.flags,
            dataMatch: entry.dataMatch, file: try file(entry.fdIndex, files),
            shadowFile: isShadow ? try file(entry.shadowFDIndex, files) : nil,
            shadowOffset: isShadow ? entry.shadowOffset : 0)
    }

    private static func file(_ index: UInt32, _ files: [OwnedFile]) throws(Errno) -> OwnedFile? {
        guard index != SubRegion.noFD else { return nil }
        guard files.indices.contains(Int(index)) else { throw .protocolError }
        return files[Int(index)]
    }
}

extension Client.RegionIOFD.Kind {
    init(_ number: UInt32) {
        self =
            switch SubRegion.Kind(rawValue: number) {
            case .ioEventFD: .ioEventFD
            case .ioRegionFD: .ioRegionFD
            case .shadowIOEventFD: .shadowIOEventFD
            case nil: .other(number)
            }
    }
}
