public import SystemPackage
internal import VFIOUserTransport
internal import VFIOUserWire

extension Client {
    /// What DEVICE_GET_INFO says.
    public struct DeviceDescription: Sendable, Equatable {
        /// It can be reset.
        public let isResettable: Bool
        /// It is a PCI device.
        public let isPCI: Bool
        /// Regions there are, those of size 0 included.
        public let regionCount: Int
        /// Kinds of interrupts there are.
        public let interruptKindCount: Int
        /// All flags as received.
        public let flags: UInt32
    }

    /// What DEVICE_GET_IRQ_INFO says.
    public struct InterruptDescription: Sendable, Equatable {
        /// Interrupts of the kind; 0 if the device has none.
        public let count: Int
        /// They can be signalled by eventfds.
        public let usesEventFDs: Bool
        /// They can be masked.
        public let isMaskable: Bool
        /// All flags as received.
        public let flags: UInt32
    }

    /// Asks what the device is (DEVICE_GET_INFO).
    public func deviceInfo() throws(Errno) -> DeviceDescription {
        let info = try channel.exchange(.deviceGetInfo, DeviceInfo()) { payload, _ throws(Errno) in
            try decodingReply { () throws(Errno) in
                var reader = Reader(payload)
                return try DeviceInfo(decoding: &reader)
            }
        }
        return DeviceDescription(
            isResettable: info.flags.contains(.reset), isPCI: info.flags.contains(.pci),
            regionCount: Int(info.regionCount), interruptKindCount: Int(info.irqTypeCount),
            flags: info.flags.rawValue)
    }

    /// Asks about a kind of interrupts (DEVICE_GET_IRQ_INFO).
    public func interruptInfo(_ kind: Interrupt) throws(Errno) -> InterruptDescription {
        let info = try channel.exchange(.deviceGetIRQInfo, IRQInfo(index: kind.rawValue)) {
            payload, _ throws(Errno) in
            try decodingReply { () throws(Errno) in
                var reader = Reader(payload)
                return try IRQInfo(decoding: &reader)
            }
        }
        guard info.index == kind.rawValue else { throw .protocolError }
        return InterruptDescription(
            count: Int(info.count), usesEventFDs: info.flags.contains(.eventFD),
            isMaskable: info.flags.contains(.maskable), flags: info.flags.rawValue)
    }

    /// Resets the device (DEVICE_RESET).
    public func reset() throws(Errno) { try perform(.reset) }
}
