/// The bus a device presents itself on; it decides the size of its configuration space.
public enum PCIKind: Sendable, Hashable {
    /// Conventional PCI: 256 bytes of configuration space.
    case conventional
    /// PCI-X mode 1: 256 bytes.
    case pciX1
    /// PCI-X mode 2: 4096 bytes.
    case pciX2
    /// PCI Express: 4096 bytes.
    case express

    /// The size of the configuration space in bytes.
    public var configSpaceSize: Int { hasExtendedCapabilities ? 4096 : 256 }

    /// Whether there is room for extended capabilities, at 0x100 and above.
    public var hasExtendedCapabilities: Bool {
        switch self {
        case .conventional, .pciX1: false
        case .pciX2, .express: true
        }
    }
}

/// Who made a device: the ids drivers match on.
public struct PCIIdentity: Sendable, Hashable {
    /// Vendor id, at 0x00.
    public var vendor: UInt16
    /// Device id, at 0x02.
    public var device: UInt16
    /// Subsystem vendor id, at 0x2c.
    public var subsystemVendor: UInt16
    /// Subsystem id, at 0x2e.
    public var subsystem: UInt16

    /// An identity of four ids; the subsystem ids are 0 if not given.
    public init(vendor: UInt16, device: UInt16, subsystemVendor: UInt16 = 0, subsystem: UInt16 = 0) {
        self.vendor = vendor
        self.device = device
        self.subsystemVendor = subsystemVendor
        self.subsystem = subsystem
    }
}

/// What a device is: the 24-bit class code at 0x09.
public struct PCIClass: Sendable, Hashable {
    /// Base class, at 0x0b.
    public var base: UInt8
    /// Sub-class, at 0x0a.
    public var sub: UInt8
    /// Programming interface, at 0x09.
    public var programmingInterface: UInt8

    /// A class code of its three bytes.
    public init(base: UInt8, sub: UInt8, programmingInterface: UInt8 = 0) {
        self.base = base
        self.sub = sub
        self.programmingInterface = programmingInterface
    }

    /// A device made before class codes, or one that fits none: 00 00 00.
    public static let unclassified = PCIClass(base: 0x00, sub: 0x00)
    /// An NVM Express I/O controller: 01 08 02.
    public static let nvme = PCIClass(base: 0x01, sub: 0x08, programmingInterface: 0x02)
    /// An Ethernet controller: 02 00 00.
    public static let ethernet = PCIClass(base: 0x02, sub: 0x00)
    /// A serial controller compatible with the 16550: 07 00 02.
    public static let serial16550 = PCIClass(base: 0x07, sub: 0x00, programmingInterface: 0x02)
    /// Some other system peripheral: 08 80 00.
    public static let systemPeripheral = PCIClass(base: 0x08, sub: 0x80)
}
