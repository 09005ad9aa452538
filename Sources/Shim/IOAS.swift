// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation
// These functions are documented in the header they implement.

public import CVFIOUser
internal import SystemPackage
internal import VFIOUserServer

@_cdecl("vfu_setup_device_iommufd") @implementation
public func vfu_setup_device_iommufd(
    _ vfu_ctx: OpaquePointer!, _ policy: CInt, _ iova_policy: CInt
) -> CInt {
    result { () throws(Errno) in
        let device = unsafe device(vfu_ctx)
        let iovas: IOVAPolicy
        switch iova_policy {
        case CInt(VFU_IOVA_SERVER_ADDRESS.rawValue): iovas = .serverAddress
        case CInt(VFU_IOVA_OPAQUE.rawValue): iovas = .opaque()
        default: throw .invalidArgument
        }
        guard let policy = IOASPolicy(policy) else { throw .invalidArgument }
        try device.setIOASPolicy(policy, iovas)
    }
}

@_cdecl("vfu_setup_device_iova_allocator") @implementation
public func vfu_setup_device_iova_allocator(
    _ vfu_ctx: OpaquePointer!, _ allocate: IOVAAllocateCallback!, _ free_iova: IOVAFreeCallback!
) -> CInt {
    result { () throws(Errno) in
        let device = unsafe device(vfu_ctx)
        let allocator: CIOVAAllocator?
        if let allocate = unsafe allocate {
            allocator = unsafe CIOVAAllocator(vfu_ctx, allocate, free_iova)
        } else {
            guard unsafe free_iova == nil else { throw .invalidArgument }
            allocator = nil
        }
        try device.setIOVAAllocator(allocator)
    }
}

@_cdecl("vfu_setup_device_iova_limits") @implementation
public func vfu_setup_device_iova_limits(
    _ vfu_ctx: OpaquePointer!, _ ranges: UnsafePointer<vfio_user_iommufd_iova_range>!, _ nr_ranges: Int,
    _ alignment: UInt64
) -> CInt {
    result { () throws(Errno) in
        guard let ranges = unsafe ranges, nr_ranges > 0 else { throw .invalidArgument }
        var limits: [ClosedRange<UInt64>] = []
        for place in 0..<nr_ranges {
            // As many as the caller says.
            let range = unsafe ranges[place]
            guard range.start <= range.last else { throw .invalidArgument }
            limits.append(range.start...range.last)
        }
        try unsafe server(vfu_ctx).setIOVALimits(IOVALimits(ranges: limits, alignment: alignment))
    }
}

@_cdecl("vfu_setup_device_ioas_cb") @implementation
public func vfu_setup_device_ioas_cb(_ vfu_ctx: OpaquePointer!, _ changed: IOASCallback!) -> CInt {
    unsafe device(vfu_ctx).addressSpaceCallback = changed
    return 0
}

@_cdecl("vfu_iommufd_in_use") @implementation
public func vfu_iommufd_in_use(_ vfu_ctx: OpaquePointer!) -> CInt {
    guard let usesIOAS = unsafe server(vfu_ctx).usesIOAS else { return failure(.socketNotConnected) }
    return usesIOAS ? 1 : 0
}

@_cdecl("vfu_iommufd_attached_ioas") @implementation
public func vfu_iommufd_attached_ioas(
    _ vfu_ctx: OpaquePointer!, _ ioas_id: UnsafeMutablePointer<UInt32>!
) -> CInt {
    result { () throws(Errno) in
        let server = unsafe server(vfu_ctx)
        guard let target = unsafe ioas_id else { throw .invalidArgument }
        guard let usesIOAS = server.usesIOAS else { throw .socketNotConnected }
        guard usesIOAS else { throw .notSupported }
        guard let id = server.attachedIOAS else { throw .operationNotSupportedByDevice }
        unsafe target.pointee = id
    }
}

@_cdecl("vfu_dma_info_user_va") @implementation
public func vfu_dma_info_user_va(
    _ vfu_ctx: OpaquePointer!, _ info: UnsafePointer<vfu_dma_info_t>!,
    _ user_va: UnsafeMutablePointer<UInt64>!
) -> CInt {
    result { () throws(Errno) in
        guard let info = unsafe info, let target = unsafe user_va else { throw .invalidArgument }
        let iova = unsafe info.pointee.iova
        let address = unsafe UInt64(UInt(bitPattern: iova.iov_base))
        let size = unsafe UInt64(iova.iov_len)
        guard let region = unsafe server(vfu_ctx).dmaRegion(at: address, size: size) else {
            throw .noSuchFileOrDirectory
        }
        unsafe target.pointee = region.userAddress
    }
}

@_cdecl("vfu_setup_device_require_sealed") @implementation
public func vfu_setup_device_require_sealed(_ vfu_ctx: OpaquePointer!, _ on: Bool) -> CInt {
    unsafe server(vfu_ctx).requiresSealedMemory = on
    return 0
}

@_cdecl("vfu_setup_device_guard_dma") @implementation
public func vfu_setup_device_guard_dma(_ vfu_ctx: OpaquePointer!, _ on: Bool) -> CInt {
    unsafe server(vfu_ctx).guardsMemory = on
    return 0
}

extension IOASPolicy {
    init?(_ policy: CInt) {
        switch policy {
        case CInt(VFU_IOMMUFD_OFF.rawValue): self = .off
        case CInt(VFU_IOMMUFD_AUTO.rawValue): self = .auto
        case CInt(VFU_IOMMUFD_REQUIRE.rawValue): self = .require
        default: return nil
        }
    }
}
