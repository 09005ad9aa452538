// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation
// These functions are documented in the header they implement.

internal import CVFIOUser
internal import SystemPackage
internal import VFIOUserServer

@_cdecl("vfu_setup_device_dma") @implementation
public func vfu_setup_device_dma(
    _ vfu_ctx: OpaquePointer!, _ max_regions: Int, _ dma_register: DMACallback!,
    _ dma_unregister: DMACallback!
) -> CInt {
    result { () throws(Errno) in
        // More than half the address space is as good as no limit.
        try unsafe server(vfu_ctx).enableDMA(maxRegions: max_regions < 0 ? Int.max : max_regions)
        unsafe device(vfu_ctx).registerCallback = dma_register
        unsafe device(vfu_ctx).unregisterCallback = dma_unregister
        unsafe ContextBlock.refreshTranslator(of: vfu_ctx)
    }
}
