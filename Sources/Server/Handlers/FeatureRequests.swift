internal import SystemPackage
internal import VFIOUserAddressSpace
internal import VFIOUserWire

extension DeviceServer {
    /// DEVICE_FEATURE. All features there are belong to migration, and a device without it has none.
    func handleFeature(_ request: inout Reader, _ reply: inout Writer) throws(Errno) {
        let byteCount = request.remaining
        let head = try DeviceFeature(decoding: &request)
        let operations = head.flags.operations
        guard let migratable, let feature = head.flags.feature, !operations.isEmpty,
            feature.operations.isSuperset(of: operations)
        else { throw .invalidArgument }
        if operations == .get {
            try getFeature(feature, head, &request, &reply)
            return
        }
        // Probing and setting are answered with the request itself.
        guard head.argsz >= byteCount else { throw .invalidArgument }
        if operations == .set {
            try setFeature(feature, &request, of: migratable)
        } else if !operations.contains(.probe) {
            throw .invalidArgument
        }
        request.rewind(to: 0)
        try reply.append(request.rest())
    }

    private func getFeature(
        _ feature: DeviceFeature.Feature, _ head: DeviceFeature, _ request: inout Reader,
        _ reply: inout Writer
    ) throws(Errno) {
        switch feature {
        case .migration:
            try answer(head, MigrationSupport(flags: [.stopCopy, .preCopy]), &reply)
        case .migDeviceState:
            try answer(head, MigrationDeviceState(currentMigrationState), &reply)
        case .dmaLoggingReport:
            try reportDirtyPages(head, &request, &reply)
        case .dmaLoggingStart, .dmaLoggingStop:
            throw .invalidArgument
        }
    }

    private func setFeature(
        _ feature: DeviceFeature.Feature, _ request: inout Reader, of device: any MigratableDevice
    ) throws(Errno) {
        switch feature {
        case .migDeviceState:
            let wanted = try MigrationDeviceState(decoding: &request)
            guard let state = MigrationState(rawValue: wanted.deviceState) else { throw .invalidArgument }
            try take(device, to: state)
        case .dmaLoggingStart:
            let start = try DMALoggingStart(decoding: &request)
            guard doesDMA else { throw .invalidArgument }
            try spaces.startLogging(pageSize: start.pageSize)
        case .dmaLoggingStop:
            guard doesDMA else { throw .invalidArgument }
            spaces.stopLogging()
        case .migration, .dmaLoggingReport:
            throw .invalidArgument
        }
    }

    /// Takes the device to a state, step by step. It stays where a step fails.
    private func take(_ device: any MigratableDevice, to target: MigrationState) throws(Errno) {
        while currentMigrationState != target {
            let next = try currentMigrationState.step(toward: target)
            do throws(Errno) {
                try telling { () throws(Errno) in try device.enter(next, on: self) }
            } catch {
                // Stopping half way without an error is what C devices do that set no errno.
                if error.rawValue == 0 { return }
                throw error
            }
            currentMigrationState = next
            log(.info, "migration state \(next)")
        }
    }

    /// Head and struct of a reply to GET.
    private func answer<Payload: WirePayload>(
        _ head: DeviceFeature, _ payload: Payload, _ reply: inout Writer
    ) throws(Errno) {
        let size = DeviceFeature.argumentByteCount + Payload.argumentByteCount
        guard head.argsz >= size else { throw .invalidArgument }
        try DeviceFeature(head.flags, argsz: size).encode(into: &reply)
        try payload.encode(into: &reply)
    }
}

extension DeviceFeature.Feature {
    /// What can be done with it.
    fileprivate var operations: DeviceFeature.Flags {
        switch self {
        case .migration, .dmaLoggingReport: [.probe, .get]
        case .migDeviceState: [.probe, .get, .set]
        case .dmaLoggingStart, .dmaLoggingStop: [.probe, .set]
        }
    }
}

extension MigrationDeviceState {
    /// A device's state on the wire.
    fileprivate init(_ state: MigrationState) {
        self.init(State.stop)
        deviceState = state.rawValue
    }
}
