// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation
// These functions are documented in the header they implement.

internal import CLinux
public import CVFIOUser
internal import SystemPackage
internal import VFIOUserServer

@_cdecl("vfu_setup_device_nr_irqs") @implementation
public func vfu_setup_device_nr_irqs(
    _ vfu_ctx: OpaquePointer!, _ type: vfu_dev_irq_type, _ count: UInt32
) -> CInt {
    result { () throws(Errno) in
        guard let kind = InterruptKind(rawValue: type.rawValue) else { throw .invalidArgument }
        unsafe try server(vfu_ctx).setInterruptCount(kind, count)
    }
}

@_cdecl("vfu_setup_irq_state_callback") @implementation
public func vfu_setup_irq_state_callback(
    _ vfu_ctx: OpaquePointer!, _ type: vfu_dev_irq_type, _ cb: InterruptStateCallback!
) -> CInt {
    result { () throws(Errno) in
        guard let kind = InterruptKind(rawValue: type.rawValue) else { throw .invalidArgument }
        unsafe device(vfu_ctx).interruptState[Int(kind.rawValue)] = cb
    }
}

@_cdecl("vfu_irq_trigger") @implementation
public func vfu_irq_trigger(_ vfu_ctx: OpaquePointer!, _ subindex: UInt32) -> CInt {
    unsafe ContextBlock.withServer(of: vfu_ctx) { server in
        let eventFD: CInt
        do throws(Errno) { eventFD = try server.interruptEventFD(subindex) } catch { return failure(error) }
        // Called last, it returns to the caller directly, and what it returns is the C convention already.
        return eventfd_write(eventFD, 1)
    }
}
