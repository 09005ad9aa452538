package import SystemPackage

/// DEVICE_GET_IRQ_INFO, request and reply.
///
/// Source: vfio-user protocol, DEVICE_GET_IRQ_INFO; `struct vfio_irq_info` of Linux VFIO.
package struct IRQInfo: WirePayload, BitwiseCopyable {
    /// What can be done with interrupts of the type.
    package struct Flags: OptionSet, Sendable, BitwiseCopyable {
        package let rawValue: UInt32
        package init(rawValue: UInt32) { self.rawValue = rawValue }

        /// They are signalled by eventfds.
        package static var eventFD: Self { Self(rawValue: 1 << 0) }
        package static var maskable: Self { Self(rawValue: 1 << 1) }
        package static var autoMasked: Self { Self(rawValue: 1 << 2) }
        /// Vectors cannot be added one by one.
        package static var noResize: Self { Self(rawValue: 1 << 3) }
    }

    package static var byteCount: Int { 16 }

    /// Size of the struct, at least 16.
    package var argsz: UInt32
    /// Only in the reply, like the count.
    package var flags: Flags
    /// Interrupt type.
    package var index: UInt32
    /// Interrupts of that type.
    package var count: UInt32

    package init(
        index: UInt32, flags: Flags = [], count: UInt32 = 0, argsz: UInt32 = Self.argumentByteCount
    ) {
        self.argsz = argsz
        self.flags = flags
        self.index = index
        self.count = count
    }

    package init(decoding reader: inout Reader) throws(Errno) {
        try reader.require(Self.byteCount)
        argsz = reader.uint32()
        flags = Flags(rawValue: reader.uint32())
        index = reader.uint32()
        count = reader.uint32()
        try Self.check(argsz: argsz)
    }

    package func encode(into writer: inout Writer) throws(Errno) {
        try writer.require(Self.byteCount)
        writer.put(argsz)
        writer.put(flags.rawValue)
        writer.put(index)
        writer.put(count)
    }
}

/// DEVICE_SET_IRQS request; with the flag `dataBool`, `count` bytes follow. The reply has no payload.
///
/// Source: vfio-user protocol, DEVICE_SET_IRQS; `struct vfio_irq_set` of Linux VFIO.
package struct SetIRQs: WirePayload, BitwiseCopyable {
    /// One kind of data and one action. Bits above 5 are ignored.
    package struct Flags: OptionSet, Sendable, BitwiseCopyable {
        package let rawValue: UInt32
        package init(rawValue: UInt32) { self.rawValue = rawValue }

        /// The action concerns every interrupt of the range.
        package static var dataNone: Self { Self(rawValue: 1 << 0) }
        /// A byte per interrupt says whether the action concerns it.
        package static var dataBool: Self { Self(rawValue: 1 << 1) }
        /// A descriptor per interrupt, or none to take them away.
        package static var dataEventFD: Self { Self(rawValue: 1 << 2) }
        package static var mask: Self { Self(rawValue: 1 << 3) }
        package static var unmask: Self { Self(rawValue: 1 << 4) }
        package static var trigger: Self { Self(rawValue: 1 << 5) }

        /// The bits for the kind of data.
        package static var dataMask: Self { [.dataNone, .dataBool, .dataEventFD] }
        /// The bits for the action.
        package static var actionMask: Self { [.mask, .unmask, .trigger] }
    }

    package static var byteCount: Int { 20 }

    /// Size of the struct, at least 20.
    package var argsz: UInt32
    package var flags: Flags
    /// Interrupt type.
    package var index: UInt32
    /// First interrupt of the range.
    package var start: UInt32
    /// Interrupts in the range.
    package var count: UInt32

    package init(
        flags: Flags, index: UInt32, start: UInt32, count: UInt32, argsz: UInt32 = Self.argumentByteCount
    ) {
        self.argsz = argsz
        self.flags = flags
        self.index = index
        self.start = start
        self.count = count
    }

    /// - Throws: also EINVAL unless exactly `count` bytes follow a struct with the flag `dataBool`.
    package init(decoding reader: inout Reader) throws(Errno) {
        try reader.require(Self.byteCount)
        argsz = reader.uint32()
        flags = Flags(rawValue: reader.uint32())
        index = reader.uint32()
        start = reader.uint32()
        count = reader.uint32()
        try Self.check(argsz: argsz)
        if flags.contains(.dataBool) && reader.remaining != Int(count) { throw .invalidArgument }
    }

    package func encode(into writer: inout Writer) throws(Errno) {
        try writer.require(Self.byteCount)
        writer.put(argsz)
        writer.put(flags.rawValue)
        writer.put(index)
        writer.put(start)
        writer.put(count)
    }
}
