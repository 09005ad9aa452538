package import SystemPackage

/// DEVICE_FEATURE MIGRATION, GET: what the device can do. Follows the `DeviceFeature` head.
///
/// Source: vfio-user protocol, VFIO_DEVICE_FEATURE_MIGRATION.
package struct MigrationSupport: WirePayload, BitwiseCopyable {
    /// Ways of migrating.
    package struct Flags: OptionSet, Sendable, BitwiseCopyable {
        package let rawValue: UInt64
        package init(rawValue: UInt64) { self.rawValue = rawValue }

        package static var stopCopy: Self { Self(rawValue: 1 << 0) }
        package static var peerToPeer: Self { Self(rawValue: 1 << 1) }
        package static var preCopy: Self { Self(rawValue: 1 << 2) }
    }

    package static var byteCount: Int { 8 }

    package var flags: Flags

    package init(flags: Flags) { self.flags = flags }

    package init(decoding reader: inout Reader) throws(Errno) {
        try reader.require(Self.byteCount)
        flags = Flags(rawValue: reader.uint64())
    }

    package func encode(into writer: inout Writer) throws(Errno) {
        try writer.require(Self.byteCount)
        writer.put(flags.rawValue)
    }
}

/// DEVICE_FEATURE MIG_DEVICE_STATE, GET and SET. Follows the `DeviceFeature` head.
///
/// Source: vfio-user protocol, VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE.
package struct MigrationDeviceState: WirePayload, BitwiseCopyable {
    /// The states of Linux VFIO's migration protocol, version 2.
    package enum State: UInt32, CaseIterable, Sendable {
        case error = 0
        case stop = 1
        case running = 2
        case stopCopy = 3
        case resuming = 4
        case runningP2P = 5
        case preCopy = 6
        case preCopyP2P = 7
    }

    package static var byteCount: Int { 8 }

    /// A `State`'s raw value, or a number nobody knows.
    package var deviceState: UInt32
    /// Not used by vfio-user: 0, ignored in requests.
    package var dataFD: UInt32

    package init(_ state: State) {
        deviceState = state.rawValue
        dataFD = 0
    }

    /// The state; nil for an unknown number.
    package var state: State? { State(rawValue: deviceState) }

    package init(decoding reader: inout Reader) throws(Errno) {
        try reader.require(Self.byteCount)
        deviceState = reader.uint32()
        dataFD = reader.uint32()
    }

    package func encode(into writer: inout Writer) throws(Errno) {
        try writer.require(Self.byteCount)
        writer.put(deviceState)
        writer.put(dataFD)
    }
}

/// MIG_DATA_READ, request and reply, and MIG_DATA_WRITE's request. Data follows in a read reply and in a
/// write request.
///
/// Source: vfio-user protocol, MIG_DATA_READ, MIG_DATA_WRITE.
package struct MigrationData: WirePayload, BitwiseCopyable {
    package static var byteCount: Int { 8 }

    /// At least 8 and `size` together.
    package var argsz: UInt32
    /// Read request: bytes wanted. Read reply: bytes read, 0 at the end of the stream. Write: bytes sent.
    package var size: UInt32

    /// `argsz` becomes what the struct and the data need.
    package init(size: UInt32) {
        let (argsz, overflow) = size.addingReportingOverflow(Self.argumentByteCount)
        self.argsz = overflow ? .max : argsz
        self.size = size
    }

    /// Decodes a read request.
    ///
    /// - Throws: EINVAL for a short payload or an `argsz` that does not cover the data.
    package init(decoding reader: inout Reader) throws(Errno) {
        try reader.require(Self.byteCount)
        argsz = reader.uint32()
        size = reader.uint32()
        guard UInt64(argsz) >= UInt64(size) + UInt64(Self.byteCount) else { throw .invalidArgument }
    }

    /// Decodes a write request, or a read reply. The data is the next `size` bytes; more may follow, to be
    /// ignored.
    ///
    /// - Throws: EINVAL, also if bytes of the data are missing.
    package init(decodingWithData reader: inout Reader) throws(Errno) {
        try self.init(decoding: &reader)
        try reader.require(Int(size))
    }

    package func encode(into writer: inout Writer) throws(Errno) {
        try writer.require(Self.byteCount)
        writer.put(argsz)
        writer.put(size)
    }
}
