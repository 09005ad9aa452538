package import SystemPackage

// A payload longer than its struct is accepted if the excess is zero, else E2BIG; fields that must be zero
// and unknown flags are kept as received: the server judges them after it has looked at what was granted.

/// IOAS_ALLOC, request and reply: makes an empty address space.
///
/// Source: iommufd extension of vfio-user, IOAS_ALLOC.
package struct IOASAlloc: WirePayload, BitwiseCopyable {
    package static var byteCount: Int { 16 }

    /// Size of the struct, at least 16. In a reply: the reply's payload.
    package var argsz: UInt32
    /// 0.
    package var flags: UInt32
    /// Reply: the new id. Ignored in a request.
    package var ioasID: UInt32
    /// 0.
    package var reserved: UInt32

    package init(ioasID: UInt32 = 0) {
        argsz = Self.argumentByteCount
        flags = 0
        self.ioasID = ioasID
        reserved = 0
    }

    package init(decoding reader: inout Reader) throws(Errno) {
        try reader.require(Self.byteCount)
        argsz = reader.uint32()
        flags = reader.uint32()
        ioasID = reader.uint32()
        reserved = reader.uint32()
        try reader.requireZeroRest()
        try Self.check(argsz: argsz)
    }

    package func encode(into writer: inout Writer) throws(Errno) {
        try writer.require(Self.byteCount)
        writer.put(argsz)
        writer.put(flags)
        writer.put(ioasID)
        writer.put(reserved)
    }
}

/// IOAS_DESTROY request. The reply has no payload.
///
/// Source: iommufd extension of vfio-user, IOAS_DESTROY.
package struct IOASDestroy: WirePayload, BitwiseCopyable {
    package static var byteCount: Int { 16 }

    /// Size of the struct, at least 16. In a reply: the reply's payload.
    package var argsz: UInt32
    /// 0.
    package var flags: UInt32
    package var ioasID: UInt32
    /// 0.
    package var reserved: UInt32

    package init(ioasID: UInt32) {
        argsz = Self.argumentByteCount
        flags = 0
        self.ioasID = ioasID
        reserved = 0
    }

    package init(decoding reader: inout Reader) throws(Errno) {
        try reader.require(Self.byteCount)
        argsz = reader.uint32()
        flags = reader.uint32()
        ioasID = reader.uint32()
        reserved = reader.uint32()
        try reader.requireZeroRest()
        try Self.check(argsz: argsz)
    }

    package func encode(into writer: inout Writer) throws(Errno) {
        try writer.require(Self.byteCount)
        writer.put(argsz)
        writer.put(flags)
        writer.put(ioasID)
        writer.put(reserved)
    }
}

/// COMPAT_IOAS, request and reply: which address space DMA_MAP and DMA_UNMAP change. Needs the feature
/// `x-compat-ioas`.
///
/// Source: iommufd extension of vfio-user, COMPAT_IOAS.
package struct CompatIOAS: WirePayload, BitwiseCopyable {
    package enum Operation: UInt32, Sendable {
        case get = 0
        case set = 1
        case clear = 2
    }

    package static var byteCount: Int { 16 }

    /// Size of the struct, at least 16. In a reply: the reply's payload.
    package var argsz: UInt32
    /// 0.
    package var flags: UInt32
    /// An `Operation`'s raw value, or a number nobody knows.
    package var operationNumber: UInt32
    /// SET: the id. GET: the id in the reply.
    package var ioasID: UInt32

    package init(_ operation: Operation, ioasID: UInt32 = 0) {
        argsz = Self.argumentByteCount
        flags = 0
        operationNumber = operation.rawValue
        self.ioasID = ioasID
    }

    /// The operation; nil for an unknown number.
    package var operation: Operation? { Operation(rawValue: operationNumber) }

    package init(decoding reader: inout Reader) throws(Errno) {
        try reader.require(Self.byteCount)
        argsz = reader.uint32()
        flags = reader.uint32()
        operationNumber = reader.uint32()
        ioasID = reader.uint32()
        try reader.requireZeroRest()
        try Self.check(argsz: argsz)
    }

    package func encode(into writer: inout Writer) throws(Errno) {
        try writer.require(Self.byteCount)
        writer.put(argsz)
        writer.put(flags)
        writer.put(operationNumber)
        writer.put(ioasID)
    }
}
