internal import SystemPackage

/// How a capability is added; the values of `VFU_CAP_FLAG_*`.
package struct CapabilityFlags: OptionSet, Sendable, Hashable {
    package let rawValue: Int32

    package init(rawValue: Int32) { self.rawValue = rawValue }

    /// In the extended list, at 0x100 and above.
    package static let extended = CapabilityFlags(rawValue: 1 << 0)
    /// Accesses go to the config region's callback, its header included.
    package static let callback = CapabilityFlags(rawValue: 1 << 1)
    /// Clients cannot write it.
    package static let readOnly = CapabilityFlags(rawValue: 1 << 2)

    static let known: CapabilityFlags = [.extended, .callback, .readOnly]
}

/// A kind of capability the library knows how to write.
package enum CapabilityType: Sendable, Hashable {
    case powerManagement
    case msi
    case vendor
    case express
    case msix
    case serialNumber
    case extendedVendor

    /// Device Control, within a PCI Express capability.
    static let expressDeviceControl = 8

    /// The type with this id; `ENOTSUP` for all others.
    init(id: UInt16, extended: Bool) throws(Errno) {
        switch (extended, id) {
        case (false, 0x01): self = .powerManagement
        case (false, 0x05): self = .msi
        case (false, 0x09): self = .vendor
        case (false, 0x10): self = .express
        case (false, 0x11): self = .msix
        case (true, 0x03): self = .serialNumber
        case (true, 0x0b): self = .extendedVendor
        default: throw .notSupported
        }
    }

    var id: UInt16 {
        switch self {
        case .powerManagement: 0x01
        case .msi: 0x05
        case .vendor: 0x09
        case .express: 0x10
        case .msix: 0x11
        case .serialNumber: 0x03
        case .extendedVendor: 0x0b
        }
    }

    /// The bytes at its start that no client can write.
    var protectedBytes: Int {
        switch self {
        case .powerManagement, .msi, .express, .msix: 2
        case .vendor: 3
        case .serialNumber: 4
        case .extendedVendor: 8
        }
    }

    /// The size in bytes of a capability with this data; nil if its length field says less than its header takes,
    /// or the data is too short to tell.
    func size(of data: RawSpan) -> Int? {
        let size: Int
        switch self {
        case .powerManagement: size = 8
        case .msi: size = 24
        case .express: size = 60
        case .msix, .serialNumber: size = 12
        case .vendor: size = Int(data.byte(at: 2))
        case .extendedVendor: size = Int(data.byte(at: 6) >> 4) | Int(data.byte(at: 7)) << 4
        }
        return size < protectedBytes ? nil : size
    }
}

/// A capability in place.
package struct Capability: Sendable, Hashable {
    package let type: CapabilityType
    /// Bytes from the start of config space.
    package let offset: Int
    /// Bytes.
    package let size: Int
    package let flags: CapabilityFlags

    /// The offset behind it.
    package var end: Int { offset + size }

    package var isExtended: Bool { flags.contains(.extended) }

    var deviceControl: Int { offset + CapabilityType.expressDeviceControl }
}
