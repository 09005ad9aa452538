// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation
// These functions are documented in the header they implement.

public import CVFIOUser
internal import SystemPackage

@_cdecl("vfu_setup_device_migration_callbacks") @implementation
public func vfu_setup_device_migration_callbacks(
    _ vfu_ctx: OpaquePointer!, _ callbacks: UnsafePointer<vfu_migration_callbacks_t>!
) -> CInt {
    failure(.notSupported)
}
