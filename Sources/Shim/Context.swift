// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation
// These functions are documented in the header they implement.

public import CVFIOUser
internal import Glibc
internal import SystemPackage
internal import VFIOUserServer

@_cdecl("vfu_create_ctx") @implementation
public func vfu_create_ctx(
    _ trans: vfu_trans_t, _ path: UnsafePointer<CChar>!, _ flags: CInt, _ pvt: UnsafeMutableRawPointer!,
    _ dev_type: vfu_dev_type_t
) -> OpaquePointer! {
    do throws(Errno) {
        guard flags & ~LIBVFIO_USER_FLAG_ATTACH_NB == 0 else { throw .invalidArgument }
        guard trans == VFU_TRANS_SOCK || trans == VFU_TRANS_PIPE, dev_type == VFU_DEV_TYPE_PCI else {
            throw .notSupported
        }
        let isBlocking = flags & LIBVFIO_USER_FLAG_ATTACH_NB == 0
        let endpoint: Endpoint
        if trans == VFU_TRANS_SOCK {
            // A C string, as the API requires.
            guard let path = unsafe path else { throw .invalidArgument }
            endpoint = .path(unsafe String(cString: path))
        } else {
            endpoint = .standardInputAndOutput
        }
        let device = unsafe CDevice(privateData: pvt)
        device.server = try DeviceServer(device, at: endpoint, waiting: isBlocking ? .blocking : .polling)
        try device.set(device.memoryPolicy)
        let context = unsafe ContextBlock.make(device)
        unsafe device.context = context
        return unsafe context
    } catch {
        errno = error.rawValue
        return nil
    }
}

@_cdecl("vfu_realize_ctx") @implementation
public func vfu_realize_ctx(_ vfu_ctx: OpaquePointer!) -> CInt {
    result { () throws(Errno) in unsafe try server(vfu_ctx).realize() }
}

@_cdecl("vfu_attach_ctx") @implementation
public func vfu_attach_ctx(_ vfu_ctx: OpaquePointer!) -> CInt {
    result { () throws(Errno) in unsafe try server(vfu_ctx).attach() }
}

@_cdecl("vfu_get_poll_fd") @implementation
public func vfu_get_poll_fd(_ vfu_ctx: OpaquePointer!) -> CInt {
    unsafe server(vfu_ctx).pollDescriptor?.rawValue ?? -1
}

@_cdecl("vfu_run_ctx") @implementation
public func vfu_run_ctx(_ vfu_ctx: OpaquePointer!) -> CInt {
    unsafe ContextBlock.withServer(of: vfu_ctx, run)
}

@inline(__always)
private func run(_ server: DeviceServer) -> CInt {
    do throws(Errno) {
        if server.waitingMode == .blocking { try server.run() }
        let handled = try server.poll()
        // Callers look at the errno of the request that failed, or find that there was nothing to read.
        if let error = server.lastRequestError {
            errno = error.rawValue
        } else if handled == 0 {
            errno = EAGAIN
        }
        return CInt(clamping: handled)
    } catch {
        return failure(error)
    }
}

@_cdecl("vfu_destroy_ctx") @implementation
public func vfu_destroy_ctx(_ vfu_ctx: OpaquePointer!) {
    guard let vfu_ctx = unsafe vfu_ctx else { return }
    let device = unsafe device(vfu_ctx)
    // What is being used further up the stack stays.
    guard device.server?.isCallingOut != true else { return }
    device.server?.close()
    device.server = nil
    unsafe ContextBlock.destroy(vfu_ctx)
}

@_cdecl("vfu_get_private") @implementation
public func vfu_get_private(_ vfu_ctx: OpaquePointer!) -> UnsafeMutableRawPointer! {
    unsafe device(vfu_ctx).privateData
}

@_cdecl("vfu_setup_log") @implementation
public func vfu_setup_log(_ vfu_ctx: OpaquePointer!, _ log: LogCallback!, _ level: CInt) -> CInt {
    result { () throws(Errno) in
        guard let level = LogLevel(rawValue: level) else { throw .invalidArgument }
        let device = unsafe device(vfu_ctx)
        let server = unsafe server(vfu_ctx)
        unsafe device.logCallback = log
        server.logLevel = level
        server.logHandler = unsafe log.map { log in
            { [context = unsafe device.context] level, message in
                let saved = errno
                unsafe log(context, level.rawValue, message)
                errno = saved
            }
        }
    }
}

// For vfu_log(), which is variadic and so in C.

@_cdecl("vfu_shim_log_enabled")
public func vfu_shim_log_enabled(_ vfu_ctx: OpaquePointer!, _ level: CInt) -> CInt {
    guard unsafe device(vfu_ctx).logCallback != nil else { return 0 }
    return unsafe level <= server(vfu_ctx).logLevel.rawValue ? 1 : 0
}

@_cdecl("vfu_shim_log")
public func vfu_shim_log(_ vfu_ctx: OpaquePointer!, _ level: CInt, _ message: UnsafePointer<CChar>!) {
    unsafe device(vfu_ctx).logCallback?(vfu_ctx, level, message)
}
