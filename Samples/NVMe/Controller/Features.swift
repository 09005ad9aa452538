/// Values of features (NVMe 1.4, 5.21).
struct Features {
    static let warningTemperature: UInt16 = 343
    static let criticalTemperature: UInt16 = 358
    /// What the sensor says, always: kelvins.
    static let temperature: UInt16 = 310

    var arbitration: UInt32 = 6
    /// The workload hint in 7:5; the power state in 4:0 is 0.
    var powerManagement: UInt32 = 0
    var overThreshold = warningTemperature
    var underThreshold: UInt16 = 0
    /// By namespace.
    var errorRecovery: [UInt32]
    var hasWriteCache = true
    /// Whether there is anything to cache.
    var canCache = false
    /// Submission queues in 15:0, completion queues in 31:16, both zero-based.
    var queues: UInt32
    var interruptCoalescing: UInt32 = 0
    /// Coalescing disabled, by vector.
    var vectorSettings: [Bool]
    var writeAtomicity: UInt32 = 0
    var events: UInt32 = 0

    init(_ configuration: ControllerConfiguration, namespaces: Int) {
        errorRecovery = [UInt32](repeating: 0, count: namespaces)
        let last = UInt32(configuration.queuePairs - 1)
        queues = last | last << 16
        vectorSettings = [Bool](repeating: false, count: configuration.vectors)
    }
}

/// Features there are.
enum FeatureIdentifier: UInt8 {
    case arbitration = 0x01
    case powerManagement = 0x02
    case temperatureThreshold = 0x04
    case errorRecovery = 0x05
    case volatileWriteCache = 0x06
    case numberOfQueues = 0x07
    case interruptCoalescing = 0x08
    case interruptVectorConfiguration = 0x09
    case writeAtomicity = 0x0a
    case asyncEventConfiguration = 0x0b

    var isNamespaceSpecific: Bool { self == .errorRecovery }
}

extension NVMeController {
    func setFeature(_ slot: Int, _ entry: SubmissionEntry) {
        guard let feature = FeatureIdentifier(rawValue: UInt8(truncatingIfNeeded: entry.dword10)) else {
            return complete(slot, .invalidField)
        }
        guard entry.dword10 >> 31 == 0 else { return complete(slot, .featureNotSaveable) }
        let isEvery = entry.namespace == everyNamespace
        if feature.isNamespaceSpecific {
            guard isEvery || (entry.namespace >= 1 && entry.namespace <= UInt32(namespaceCount)) else {
                return complete(slot, .invalidNamespace)
            }
        } else if entry.namespace != 0, !isEvery {
            let exists = entry.namespace <= UInt32(namespaceCount)
            return complete(slot, exists ? .featureNotNamespaceSpecific : .invalidNamespace)
        }
        var result: UInt32 = 0
        guard let status = set(feature, slot, entry, &result) else { return }
        complete(slot, status, result: result)
    }

    /// - Returns: how that ended; `nil`: it ends with the slot's requests.
    private func set(
        _ feature: FeatureIdentifier, _ slot: Int, _ entry: SubmissionEntry, _ result: inout UInt32
    ) -> Status? {
        let value = entry.dword11
        switch feature {
        case .arbitration: features.arbitration = value
        case .powerManagement:
            // There is one power state.
            guard value & 0x1f == 0 else { return .invalidField }
            features.powerManagement = value & 0xe0
        case .temperatureThreshold: return setThreshold(value)
        case .errorRecovery:
            // Deallocated blocks can be read, so DULBE cannot be set.
            guard value & 1 << 16 == 0 else { return .invalidField }
            for place in 0..<namespaceCount
            where entry.namespace == everyNamespace || UInt32(place + 1) == entry.namespace {
                features.errorRecovery[place] = value & 0xffff
            }
        case .volatileWriteCache:
            guard features.canCache else { return .invalidField }
            let wasOn = features.hasWriteCache
            // From now on what is written is durable, and what is in the cache does not stay there.
            features.hasWriteCache = value & 1 == 1
            guard wasOn, !features.hasWriteCache else { return .success }
            emptyCache(slot)
            return nil
        case .numberOfQueues:
            // Only as long as there are no I/O queues.
            for place in 1..<queueCount
            where unsafe completions[place].isActive || submissions[place].isActive {
                return .commandSequenceError
            }
            guard value & 0xffff != 0xffff, value >> 16 != 0xffff else { return .invalidField }
            let last = UInt32(configuration.queuePairs - 1)
            features.queues = last | last << 16
            result = features.queues
        case .interruptCoalescing: features.interruptCoalescing = value & 0xffff
        case .interruptVectorConfiguration:
            let vector = Int(value & 0xffff)
            guard vector < features.vectorSettings.count else { return .invalidField }
            features.vectorSettings[vector] = value & 1 << 16 != 0
        case .writeAtomicity: features.writeAtomicity = value & 1
        case .asyncEventConfiguration:
            features.events = value & (0x1f | AsyncEvents.offered)
            checkTemperature()
        }
        return .success
    }

    private func emptyCache(_ slot: Int) {
        unsafe slots[slot].ending = .emptyCache
        // A format flushes when it has written.
        for place in 0..<namespaceCount where unsafe !namespaces[place].isFormatting {
            issue(slot, place, .flush, 0, 0)
        }
        settle(slot)
    }

    func endEmptyCache(_ slot: Int) {
        let status = unsafe slots[slot].status
        if !status.isSuccess, unsafe slots[slot].resetCount == resetCount { features.hasWriteCache = true }
        complete(slot, status)
    }

    /// Temperature Threshold, of the composite temperature: there are no other sensors.
    private func setThreshold(_ value: UInt32) -> Status {
        let sensor = value >> 16 & 0xf
        guard sensor == 0 || sensor == 0xf else { return .invalidField }
        switch value >> 20 & 3 {
        case 0: features.overThreshold = UInt16(truncatingIfNeeded: value)
        case 1: features.underThreshold = UInt16(truncatingIfNeeded: value)
        default: return .invalidField
        }
        checkTemperature()
        return .success
    }

    func getFeature(_ slot: Int, _ entry: SubmissionEntry) {
        guard let feature = FeatureIdentifier(rawValue: UInt8(truncatingIfNeeded: entry.dword10)) else {
            return complete(slot, .invalidField)
        }
        let selection = entry.dword10 >> 8 & 7
        guard selection <= 3 else { return complete(slot, .invalidField) }
        if feature.isNamespaceSpecific {
            guard entry.namespace >= 1, entry.namespace <= UInt32(namespaceCount) else {
                return complete(slot, .invalidNamespace)
            }
        }
        guard feature != .volatileWriteCache || features.canCache else {
            return complete(slot, .invalidField)
        }
        if selection == 3 {
            // Capabilities: changeable, perhaps by namespace, never saveable.
            return complete(slot, .success, result: feature.isNamespaceSpecific ? 6 : 4)
        }
        // Nothing is saved: the saved value is the default.
        var values = features
        if selection != 0 {
            values = Features(configuration, namespaces: namespaceCount)
            values.canCache = features.canCache
        }
        var result: UInt32 = 0
        let status = get(feature, entry, values, &result)
        complete(slot, status, result: result)
    }

    private func get(
        _ feature: FeatureIdentifier, _ entry: SubmissionEntry, _ values: Features, _ result: inout UInt32
    ) -> Status {
        switch feature {
        case .arbitration: result = values.arbitration
        case .powerManagement: result = values.powerManagement
        case .temperatureThreshold:
            let sensor = entry.dword11 >> 16 & 0xf
            guard sensor == 0 else { return .invalidField }
            switch entry.dword11 >> 20 & 3 {
            case 0: result = UInt32(values.overThreshold)
            case 1: result = UInt32(values.underThreshold)
            default: return .invalidField
            }
        case .errorRecovery: result = values.errorRecovery[Int(entry.namespace) - 1]
        case .volatileWriteCache: result = values.hasWriteCache ? 1 : 0
        case .numberOfQueues: result = values.queues
        case .interruptCoalescing: result = values.interruptCoalescing
        case .interruptVectorConfiguration:
            let vector = Int(entry.dword11 & 0xffff)
            guard vector < values.vectorSettings.count else { return .invalidField }
            result = UInt32(vector) | (values.vectorSettings[vector] ? 1 << 16 : 0)
        case .writeAtomicity: result = values.writeAtomicity
        case .asyncEventConfiguration: result = values.events
        }
        return .success
    }
}
