// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation
// These functions are documented in the header they implement.

internal import CVFIOUser
internal import SystemPackage
internal import VFIOUserServer

@_cdecl("vfu_setup_device_reset_cb") @implementation
public func vfu_setup_device_reset_cb(_ vfu_ctx: OpaquePointer!, _ reset: ResetCallback!) -> CInt {
    unsafe device(vfu_ctx).resetCallback = reset
    return 0
}

@_cdecl("vfu_setup_device_quiesce_cb") @implementation
public func vfu_setup_device_quiesce_cb(_ vfu_ctx: OpaquePointer!, _ quiesce_cb: QuiesceCallback!) {
    unsafe device(vfu_ctx).quiesceCallback = quiesce_cb
}

@_cdecl("vfu_device_quiesced") @implementation
public func vfu_device_quiesced(_ vfu_ctx: OpaquePointer!, _ quiesce_errno: CInt) -> CInt {
    result { () throws(Errno) in
        guard unsafe device(vfu_ctx).quiesceCallback != nil else { throw .invalidArgument }
        unsafe try server(vfu_ctx).quiesced(error: quiesce_errno == 0 ? nil : Errno(rawValue: quiesce_errno))
    }
}
