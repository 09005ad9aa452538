package import SystemPackage

/// BIND, request and reply: names the device behind the socket.
///
/// Source: iommufd extension of vfio-user, BIND.
package struct Bind: WirePayload, BitwiseCopyable {
    package static var byteCount: Int { 16 }

    /// Size of the struct, at least 16. In a reply: the reply's payload.
    package var argsz: UInt32
    /// 0.
    package var flags: UInt32
    /// Ignored.
    package var iommufd: Int32
    /// Reply: 1. Ignored in a request.
    package var deviceID: UInt32

    package init(iommufd: Int32 = 0, deviceID: UInt32 = 0) {
        argsz = Self.argumentByteCount
        flags = 0
        self.iommufd = iommufd
        self.deviceID = deviceID
    }

    package init(decoding reader: inout Reader) throws(Errno) {
        try reader.require(Self.byteCount)
        argsz = reader.uint32()
        flags = reader.uint32()
        iommufd = Int32(truncatingIfNeeded: reader.uint32())
        deviceID = reader.uint32()
        try reader.requireZeroRest()
        try Self.check(argsz: argsz)
    }

    package func encode(into writer: inout Writer) throws(Errno) {
        try writer.require(Self.byteCount)
        writer.put(argsz)
        writer.put(flags)
        writer.put(UInt32(bitPattern: iommufd))
        writer.put(deviceID)
    }
}

/// Flags of ATTACH_PT and DETACH_PT.
package struct AttachFlags: OptionSet, Sendable, BitwiseCopyable {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }

    /// The `pasid` field counts. Known, not supported.
    package static var pasid: Self { Self(rawValue: 1 << 0) }
    /// Every bit with a meaning.
    package static var known: Self { [.pasid] }
}

/// ATTACH_PT request: the device sees this address space from now on. The reply has no payload, or with the
/// feature `x-reply-args` this struct.
///
/// Source: iommufd extension of vfio-user, ATTACH_PT.
package struct AttachPT: WirePayload, BitwiseCopyable {
    package static var byteCount: Int { 16 }

    /// Size of the struct, at least 16. In a reply: the reply's payload.
    package var argsz: UInt32
    package var flags: AttachFlags
    /// `pt_id`: the id of an IOAS.
    package var ioasID: UInt32
    /// 0.
    package var pasid: UInt32

    package init(ioasID: UInt32) {
        argsz = Self.argumentByteCount
        flags = []
        self.ioasID = ioasID
        pasid = 0
    }

    package init(decoding reader: inout Reader) throws(Errno) {
        try reader.require(Self.byteCount)
        argsz = reader.uint32()
        flags = AttachFlags(rawValue: reader.uint32())
        ioasID = reader.uint32()
        pasid = reader.uint32()
        try reader.requireZeroRest()
        try Self.check(argsz: argsz)
    }

    package func encode(into writer: inout Writer) throws(Errno) {
        try writer.require(Self.byteCount)
        writer.put(argsz)
        writer.put(flags.rawValue)
        writer.put(ioasID)
        writer.put(pasid)
    }
}

/// DETACH_PT request: the device sees no memory from now on. The reply has no payload.
///
/// Source: iommufd extension of vfio-user, DETACH_PT.
package struct DetachPT: WirePayload, BitwiseCopyable {
    package static var byteCount: Int { 16 }

    /// Size of the struct, at least 16. In a reply: the reply's payload.
    package var argsz: UInt32
    package var flags: AttachFlags
    /// 0.
    package var pasid: UInt32
    /// 0.
    package var reserved: UInt32

    package init() {
        argsz = Self.argumentByteCount
        flags = []
        pasid = 0
        reserved = 0
    }

    package init(decoding reader: inout Reader) throws(Errno) {
        try reader.require(Self.byteCount)
        argsz = reader.uint32()
        flags = AttachFlags(rawValue: reader.uint32())
        pasid = reader.uint32()
        reserved = reader.uint32()
        try reader.requireZeroRest()
        try Self.check(argsz: argsz)
    }

    package func encode(into writer: inout Writer) throws(Errno) {
        try writer.require(Self.byteCount)
        writer.put(argsz)
        writer.put(flags.rawValue)
        writer.put(pasid)
        writer.put(reserved)
    }
}
