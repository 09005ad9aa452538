internal import SystemPackage
internal import VFIOUserTransport
internal import VFIOUserWire

extension DeviceServer {
    /// DEVICE_GET_IRQ_INFO.
    func describeInterrupts(_ request: inout Reader, _ reply: inout Writer) throws(Errno) {
        let query = try IRQInfo(decoding: &request)
        guard let kind = InterruptKind(rawValue: query.index) else { throw .invalidArgument }
        try IRQInfo(index: query.index, flags: .eventFD, count: interruptCounts[Int(kind.rawValue)])
            .encode(into: &reply)
    }

    /// DEVICE_SET_IRQS.
    func setInterrupts(_ request: inout Reader) throws(Errno) {
        var descriptors = inbound.takeDescriptors()
        let setting = try SetIRQs(decoding: &request)
        let kind = try check(setting, descriptorCount: descriptors.count)
        for place in 0..<descriptors.count {
            guard let number = descriptors.peek(at: place), InterruptTable.canSignal(number) else {
                throw .invalidArgument
            }
        }
        let range = Int(setting.start)..<Int(setting.start) + Int(setting.count)

        guard setting.flags.contains(.trigger) else {
            let masked = setting.flags.contains(.mask)
            device.interruptsMasked(
                kind, vectors: setting.start..<setting.start + setting.count, masked: masked, on: self)
            return
        }
        if setting.flags.contains(.dataEventFD) {
            for (place, vector) in range.enumerated() {
                interrupts.set(kind, vector, descriptors.take(at: place))
            }
        } else if setting.flags.contains(.dataBool) {
            // The request was checked to carry one byte for each.
            for vector in range where request.uint8() == 1 { try trigger(kind, vector) }
        } else if setting.count == 0 {
            for vector in 0..<Int(interruptCounts[Int(kind.rawValue)]) { interrupts.set(kind, vector, nil) }
        } else {
            for vector in range { try trigger(kind, vector) }
        }
    }

    /// Every rule of the request that needs more than its own bytes.
    private func check(_ setting: SetIRQs, descriptorCount: Int) throws(Errno) -> InterruptKind {
        let action = setting.flags.intersection(.actionMask)
        let data = setting.flags.intersection(.dataMask)
        guard let kind = InterruptKind(rawValue: setting.index),
            action == .mask || action == .unmask || action == .trigger,
            data == .dataNone || data == .dataBool || data == .dataEventFD
        else { throw .invalidArgument }
        let count = interruptCounts[Int(kind.rawValue)]
        let (end, overflows) = setting.start.addingReportingOverflow(setting.count)
        guard setting.start < count, !overflows, end <= count else { throw .invalidArgument }
        if kind == .error || kind == .request {
            guard action == .trigger, setting.count <= 1 else { throw .invalidArgument }
        }
        if setting.count == 0 {
            guard setting.start == 0, action == .trigger, data == .dataNone else { throw .invalidArgument }
        }
        if descriptorCount > 0 {
            guard data == .dataEventFD, descriptorCount == Int(setting.count) else { throw .invalidArgument }
        }
        return kind
    }

    /// Triggers a vector by request of the client; one without eventfd is passed over.
    private func trigger(_ kind: InterruptKind, _ vector: Int) throws(Errno) {
        do throws(Errno) {
            try interrupts.trigger(kind, vector)
        } catch .noSuchFileOrDirectory {
            return
        }
    }
}
