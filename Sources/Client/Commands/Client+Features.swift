public import SystemPackage
internal import VFIOUserTransport
internal import VFIOUserWire

extension Client {
    /// A feature of DEVICE_FEATURE, by its number.
    public struct Feature: RawRepresentable, Hashable, Sendable, ExpressibleByIntegerLiteral {
        /// The number on the wire.
        public let rawValue: UInt16
        /// Any number.
        public init(rawValue: UInt16) { self.rawValue = rawValue }
        /// Any number.
        public init(integerLiteral value: UInt16) { self.init(rawValue: value) }

        /// What the device can do about migration. GET.
        public static var migration: Self { 1 }
        /// The migration state. GET, SET.
        public static var migrationState: Self { 2 }
        /// Begin to log dirty pages. SET.
        public static var loggingStart: Self { 6 }
        /// Stop that. SET.
        public static var loggingStop: Self { 7 }
        /// The dirty pages of a range. GET.
        public static var loggingReport: Self { 8 }
    }

    /// Operations of DEVICE_FEATURE.
    public struct FeatureOperations: OptionSet, Hashable, Sendable {
        /// The bits on the wire, 16...31.
        public let rawValue: UInt32
        /// Any bits.
        public init(rawValue: UInt32) { self.rawValue = rawValue }

        /// Ask for data.
        public static var get: Self { Self(rawValue: 1 << 16) }
        /// Give data.
        public static var set: Self { Self(rawValue: 1 << 17) }
        /// Ask only whether the other operations are supported.
        public static var probe: Self { Self(rawValue: 1 << 18) }
    }

    /// Sends a DEVICE_FEATURE with any feature, operations and data.
    ///
    /// - Parameter argumentSize: the longest reply payload taken; nil: the request's length.
    /// - Returns: what follows the flags in the reply's payload.
    /// - Throws: what the server answers; `EPROTO` a reply about something else.
    @discardableResult
    public func feature(
        _ feature: Feature, _ operations: FeatureOperations, data: [UInt8] = [], argumentSize: UInt32? = nil
    ) throws(Errno) -> [UInt8] {
        let flags = DeviceFeature.Flags(rawValue: UInt32(feature.rawValue) | operations.rawValue)
        let head = DeviceFeature(
            flags, argsz: argumentSize ?? UInt32(clamping: DeviceFeature.byteCount + data.count))
        let reply = try perform(Request(.deviceFeature, head, data: data))
        var reader = Reader(reply.payload.span)
        guard let echo = try? DeviceFeature(decoding: &reader), echo.flags == flags else {
            throw .protocolError
        }
        return Array(reply.payload.dropFirst(DeviceFeature.byteCount))
    }

    /// Whether the device supports operations of a feature (PROBE).
    ///
    /// - Throws: `ENOTCONN`, `ETIMEDOUT`, `EPROTO`; a refusal is no error.
    public func supports(_ feature: Feature, _ operations: FeatureOperations) throws(Errno) -> Bool {
        let flags = DeviceFeature.Flags(
            rawValue: UInt32(feature.rawValue) | operations.union(.probe).rawValue)
        let head = DeviceFeature(flags, argsz: DeviceFeature.argumentByteCount)
        return try reply(to: send(Request(.deviceFeature, head))).error == nil
    }
}
