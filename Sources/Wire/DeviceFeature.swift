package import SystemPackage

/// DEVICE_FEATURE: the head of every request and reply; the feature's own struct follows.
///
/// Source: vfio-user protocol, DEVICE_FEATURE; `struct vfio_device_feature` of Linux VFIO.
package struct DeviceFeature: WirePayload, BitwiseCopyable {
    /// The features there are.
    package enum Feature: UInt16, Sendable {
        case migration = 1
        case migDeviceState = 2
        case dmaLoggingStart = 6
        case dmaLoggingStop = 7
        case dmaLoggingReport = 8
    }

    /// The operation, bits 16-31, and the feature number, bits 0-15.
    package struct Flags: OptionSet, Sendable, BitwiseCopyable {
        package let rawValue: UInt32
        package init(rawValue: UInt32) { self.rawValue = rawValue }

        package init(_ feature: Feature, _ operations: Flags) {
            self.init(rawValue: UInt32(feature.rawValue) | operations.rawValue & ~0xffff)
        }

        package static var get: Self { Self(rawValue: 1 << 16) }
        package static var set: Self { Self(rawValue: 1 << 17) }
        /// Ask whether the other operations named are supported.
        package static var probe: Self { Self(rawValue: 1 << 18) }

        /// The operation bits alone, unknown ones included.
        package var operations: Self { Self(rawValue: rawValue & ~0xffff) }
        /// The feature number, known or not.
        package var featureNumber: UInt16 { UInt16(truncatingIfNeeded: rawValue) }
        /// The feature; nil for an unknown number.
        package var feature: Feature? { Feature(rawValue: featureNumber) }
    }

    package static var byteCount: Int { 8 }

    /// Request: the longest reply payload the client takes. Reply: its payload's length. At least 8.
    package var argsz: UInt32
    package var flags: Flags

    package init(_ flags: Flags, argsz: UInt32) {
        self.argsz = argsz
        self.flags = flags
    }

    /// - Throws: EINVAL for a short payload or an `argsz` below 8. The operation may need more than that.
    package init(decoding reader: inout Reader) throws(Errno) {
        try reader.require(Self.byteCount)
        argsz = reader.uint32()
        flags = Flags(rawValue: reader.uint32())
        try Self.check(argsz: argsz)
    }

    package func encode(into writer: inout Writer) throws(Errno) {
        try writer.require(Self.byteCount)
        writer.put(argsz)
        writer.put(flags.rawValue)
    }
}
