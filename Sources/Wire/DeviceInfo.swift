package import SystemPackage

/// DEVICE_GET_INFO, request and reply.
///
/// Source: vfio-user protocol, DEVICE_GET_INFO; `struct vfio_device_info` of Linux VFIO.
package struct DeviceInfo: WirePayload, BitwiseCopyable {
    /// What kind of device it is.
    package struct Flags: OptionSet, Sendable, BitwiseCopyable {
        package let rawValue: UInt32
        package init(rawValue: UInt32) { self.rawValue = rawValue }

        /// The device can be reset.
        package static var reset: Self { Self(rawValue: 1 << 0) }
        /// A PCI device.
        package static var pci: Self { Self(rawValue: 1 << 1) }
    }

    package static var byteCount: Int { 16 }

    /// Size of the struct, at least 16.
    package var argsz: UInt32
    /// Only in the reply, like the counts.
    package var flags: Flags
    package var regionCount: UInt32
    package var irqTypeCount: UInt32

    package init(
        flags: Flags = [], regionCount: UInt32 = 0, irqTypeCount: UInt32 = 0,
        argsz: UInt32 = Self.argumentByteCount
    ) {
        self.argsz = argsz
        self.flags = flags
        self.regionCount = regionCount
        self.irqTypeCount = irqTypeCount
    }

    package init(decoding reader: inout Reader) throws(Errno) {
        try reader.require(Self.byteCount)
        argsz = reader.uint32()
        flags = Flags(rawValue: reader.uint32())
        regionCount = reader.uint32()
        irqTypeCount = reader.uint32()
        try Self.check(argsz: argsz)
    }

    package func encode(into writer: inout Writer) throws(Errno) {
        try writer.require(Self.byteCount)
        writer.put(argsz)
        writer.put(flags.rawValue)
        writer.put(regionCount)
        writer.put(irqTypeCount)
    }
}
