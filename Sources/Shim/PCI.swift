// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation
// These functions are documented in the header they implement.

public import CVFIOUser
internal import Glibc
internal import SystemPackage
internal import VFIOUserServer

@_cdecl("vfu_pci_init") @implementation
public func vfu_pci_init(
    _ vfu_ctx: OpaquePointer!, _ pci_type: vfu_pci_type_t, _ hdr_type: CInt, _ revision: CInt
) -> CInt {
    result { () throws(Errno) in
        guard let kind = PCIKind(pci_type), hdr_type == PCI_HEADER_TYPE_NORMAL else { throw .invalidArgument }
        unsafe try server(vfu_ctx).initializePCI(kind)
    }
}

@_cdecl("vfu_pci_set_id") @implementation
public func vfu_pci_set_id(
    _ vfu_ctx: OpaquePointer!, _ vid: UInt16, _ did: UInt16, _ ssvid: UInt16, _ ssid: UInt16
) {
    unsafe try? server(vfu_ctx).setIdentity(
        PCIIdentity(vendor: vid, device: did, subsystemVendor: ssvid, subsystem: ssid))
}

@_cdecl("vfu_pci_set_class") @implementation
public func vfu_pci_set_class(_ vfu_ctx: OpaquePointer!, _ base: UInt8, _ sub: UInt8, _ pi: UInt8) {
    unsafe try? server(vfu_ctx).setClass(PCIClass(base: base, sub: sub, programmingInterface: pi))
}

@_cdecl("vfu_pci_get_config_space") @implementation
public func vfu_pci_get_config_space(
    _ vfu_ctx: OpaquePointer!
) -> UnsafeMutablePointer<vfu_pci_config_space_t>! {
    // At least 256 bytes that stay where they are until the context is destroyed; the type is packed bytes.
    let bytes = unsafe try? server(vfu_ctx).configurationSpace().unsafeBytes
    return unsafe bytes?.baseAddress?.assumingMemoryBound(to: vfu_pci_config_space_t.self)
}

@_cdecl("vfu_pci_add_capability") @implementation
public func vfu_pci_add_capability(
    _ vfu_ctx: OpaquePointer!, _ pos: Int, _ flags: CInt, _ data: UnsafeMutableRawPointer!
) -> Int {
    do throws(Errno) {
        guard let data = unsafe data else { throw .invalidArgument }
        let flags = CapabilityFlags(rawValue: flags)
        let isExtended = flags.contains(.extended)
        // The caller's buffer holds the capability's header, and then as many bytes as that says.
        let head = isExtended ? 8 : 3
        let size = try? ConfigSpace.capabilitySize(
            of: unsafe RawSpan(_unsafeStart: data, byteCount: head), extended: isExtended)
        let bytes = unsafe RawSpan(_unsafeStart: data, byteCount: size ?? head)
        guard let space = unsafe try? server(vfu_ctx).configurationSpace() else {
            // There is no room yet; whatever else is wrong with the capability is said before that.
            let none = ConfigSpace(kind: .conventional)
            let place = Int(RegionIndex.configuration.rawValue)
            unsafe none.hasCallback = device(vfu_ctx).regionAccess[place] != nil
            return try none.addCapability(bytes, at: none.size, flags: flags)
        }
        return try space.addCapability(bytes, at: pos, flags: flags)
    } catch {
        return Int(failure(error))
    }
}

@_cdecl("vfu_pci_find_capability") @implementation
public func vfu_pci_find_capability(_ vfu_ctx: OpaquePointer!, _ extended: Bool, _ cap_id: CInt) -> Int {
    unsafe vfu_pci_find_next_capability(vfu_ctx, extended, 0, cap_id)
}

@_cdecl("vfu_pci_find_next_capability") @implementation
public func vfu_pci_find_next_capability(
    _ vfu_ctx: OpaquePointer!, _ extended: Bool, _ pos: Int, _ cap_id: CInt
) -> Int {
    do throws(Errno) {
        return unsafe try server(vfu_ctx).configurationSpace().findCapability(
            Int(cap_id), extended: extended, after: pos)
    } catch {
        errno = error.rawValue
        return 0
    }
}

extension PCIKind {
    init?(_ type: vfu_pci_type_t) {
        switch type {
        case VFU_PCI_TYPE_CONVENTIONAL: self = .conventional
        case VFU_PCI_TYPE_PCI_X_1: self = .pciX1
        case VFU_PCI_TYPE_PCI_X_2: self = .pciX2
        case VFU_PCI_TYPE_EXPRESS: self = .express
        default: return nil
        }
    }
}
