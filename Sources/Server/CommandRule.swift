internal import VFIOUserPCI
internal import VFIOUserTransport
internal import VFIOUserWire

/// What holds for a command before its handler sees it, in one place.
struct CommandRule {
    /// When the device is quiesced first (vfio-user protocol; the request's own fields are judged after that).
    enum Quiesce {
        case never
        case always
        /// If the device does DMA.
        case memory
        /// A write to PCI Express Device Control, which may reset the function.
        case configuration
        /// The same among several writes.
        case configurationBatch
        /// A change by DEVICE_FEATURE.
        case feature
        /// In IOAS mode.
        case addressSpaces
        /// In IOAS mode, if the id at this offset of the payload is the attached address space's.
        case addressSpace(at: Int)
    }

    var quiesce = Quiesce.never
    /// Whether it is carried out in the migration states STOP and STOP_COPY.
    var worksStopped = false
    /// Whether it may be carried out while an answer of the client's is awaited.
    var worksWaiting = false

    static let unknown = CommandRule()

    private init(quiesce: Quiesce = .never, worksStopped: Bool = false, worksWaiting: Bool = false) {
        self.quiesce = quiesce
        self.worksStopped = worksStopped
        self.worksWaiting = worksWaiting
    }

    init(_ command: Command) {
        switch command {
        case .dmaMap, .dmaUnmap: self.init(quiesce: .memory)
        case .regionRead: self.init(worksStopped: true, worksWaiting: true)
        case .regionWrite: self.init(quiesce: .configuration, worksStopped: true, worksWaiting: true)
        case .regionWriteMulti:
            self.init(quiesce: .configurationBatch, worksStopped: true, worksWaiting: true)
        case .deviceReset: self.init(quiesce: .always)
        case .deviceFeature: self.init(quiesce: .feature, worksStopped: true)
        case .migDataRead: self.init(worksStopped: true)
        case .deviceGetInfo, .deviceGetRegionInfo, .deviceGetRegionIOFDs, .deviceGetIRQInfo, .deviceSetIRQs:
            self.init(worksWaiting: true)
        case .version, .dmaRead, .dmaWrite, .migDataWrite: self.init()
        case .ioasDestroy, .ioasUnmap, .attachPT, .detachPT: self.init(quiesce: .addressSpaces)
        case .ioasMap: self.init(quiesce: .addressSpace(at: 8))
        case .ioasCopy: self.init(quiesce: .addressSpace(at: 12))
        case .ioasAlloc, .bind, .iovaRanges, .compatIOAS: self.init()
        }
    }
}

extension DeviceServer {
    /// Whether the first message, which is complete, has to wait for the device to quiesce.
    func needsQuiesce(_ rule: CommandRule, length: Int) -> Bool {
        switch rule.quiesce {
        case .never: return false
        case .always: return true
        case .memory: return doesDMA
        case .configuration:
            var request = Reader(payload(length: length))
            guard let access = try? RegionAccess(decoding: &request) else { return false }
            return isDeviceControl(access.region, access.offset)
        case .configurationBatch:
            guard connection?.writesMultiple ?? false else { return false }
            var request = Reader(payload(length: length))
            guard let batch = try? RegionWriteMulti(decodingRequest: &request) else { return false }
            for _ in 0..<batch.count {
                guard let write = try? RegionWriteMulti.Write(decoding: &request) else { return false }
                if isDeviceControl(write.region, write.offset) { return true }
            }
            return false
        case .addressSpaces: return usesIOAS == true
        case .addressSpace(let offset): return concernsAttached(at: offset, length: length)
        case .feature:
            var request = Reader(payload(length: length))
            // The flags are the second of two 32-bit fields; the first is judged later.
            guard (try? request.take(4)) != nil, (try? request.require(4)) != nil else { return false }
            let flags = DeviceFeature.Flags(rawValue: request.uint32())
            return !flags.contains(.probe) && (flags.contains(.set) || flags.featureNumber & 2 != 0)
        }
    }

    private func isDeviceControl(_ region: UInt32, _ offset: UInt64) -> Bool {
        guard region == RegionIndex.configuration.rawValue, let offset = Int(exactly: offset) else {
            return false
        }
        return configuration?.isDeviceControl(offset) ?? false
    }

    /// STOP and STOP_COPY let only few commands through.
    func isAllowedInMigrationState(_ rule: CommandRule) -> Bool {
        rule.worksStopped || !currentMigrationState.isStopped
    }
}
