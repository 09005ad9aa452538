internal import SystemPackage
internal import VFIOUserWire

extension DeviceServer {
    /// DEVICE_GET_INFO.
    func describeDevice(_ request: inout Reader, _ reply: inout Writer) throws(Errno) {
        _ = try DeviceInfo(decoding: &request)
        try DeviceInfo(
            flags: [.reset, .pci], regionCount: UInt32(RegionIndex.allCases.count),
            irqTypeCount: UInt32(InterruptKind.allCases.count)
        ).encode(into: &reply)
    }

    /// DEVICE_GET_REGION_INFO. The region's descriptor travels only with a reply that describes its areas.
    func describeRegion(_ request: inout Reader, _ reply: inout Writer) throws(Errno) {
        let query = try RegionInfo(decoding: &request)
        let region = try region(query.index)
        var flags: RegionInfo.Flags = []
        if region.flags.contains(.read) { flags.insert(.read) }
        if region.flags.contains(.write) { flags.insert(.write) }
        if region.file >= 0 { flags.insert(.mmap) }
        let answer = RegionInfoReply(
            RegionInfo(index: query.index, flags: flags, size: region.size, offset: region.fileOffset),
            areas: region.areas.map { MappableArea(offset: $0.offset, size: $0.size) },
            requestArgsz: query.argsz)
        try answer.encode(into: &reply)
        if answer.info.flags.contains(.caps) { replyDescriptors = [region.file] }
    }

    /// DEVICE_GET_REGION_IO_FDS: all entries and their descriptors, or only how much room they take.
    func describeNotifiers(_ request: inout Reader, _ reply: inout Writer) throws(Errno) {
        let query = try RegionIOFDs(decodingRequest: &request)
        let region = try region(query.index)
        guard !region.flags.isEmpty else { throw .invalidArgument }
        let answer = RegionIOFDs(index: query.index, replyCount: UInt32(clamping: region.notifiers.count))
        try answer.encode(into: &reply)
        guard query.argsz >= answer.argsz else { return }

        var descriptors: [CInt] = []
        /// An equal descriptor is sent once.
        func index(of descriptor: CInt) -> UInt32 {
            guard descriptor >= 0 else { return SubRegion.noFD }
            if let index = descriptors.firstIndex(of: descriptor) { return UInt32(clamping: index) }
            descriptors.append(descriptor)
            return UInt32(clamping: descriptors.count - 1)
        }
        for notifier in region.notifiers {
            let isShadow = notifier.shadowFile >= 0
            let fdIndex = index(of: notifier.file)
            try SubRegion(
                offset: notifier.offset, size: UInt64(notifier.size), fdIndex: fdIndex,
                kind: isShadow ? .shadowIOEventFD : .ioEventFD, flags: notifier.flags,
                shadowFDIndex: isShadow ? index(of: notifier.shadowFile) : 0,
                shadowOffset: isShadow ? notifier.shadowOffset : 0, dataMatch: notifier.match
            ).encode(into: &reply)
        }
        replyDescriptors = descriptors
    }

    /// DEVICE_RESET. Nothing but the device's own method resets anything.
    func resetDevice() throws(Errno) {
        try telling { () throws(Errno) in try device.reset(.device, on: self) }
    }

    /// The region a request names.
    func region(_ index: UInt32) throws(Errno) -> RegionState {
        guard Int(index) < regions.count else { throw .invalidArgument }
        return regions[Int(index)]
    }
}
