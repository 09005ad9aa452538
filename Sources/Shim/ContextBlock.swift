internal import CVFIOUser
internal import VFIOUserAddressSpace
internal import VFIOUserServer

/// What a `vfu_ctx_t *` points to.
///
/// Unsafe by nature: a C program hands the pointer back, and it must be one that `vfu_create_ctx` returned and
/// `vfu_destroy_ctx` has not taken. That is the C API's contract; nothing a client sends can break it.
@safe struct ContextBlock {
    private let device: Unmanaged<CDevice>
    /// The device keeps its server until the context is destroyed.
    private let server: Unmanaged<DeviceServer>
    /// At hand for the functions that are called for every piece of memory a device uses.
    private var translator: Translator

    /// Makes the block for a device and keeps the device alive.
    static func make(_ device: CDevice) -> OpaquePointer {
        let block = UnsafeMutablePointer<ContextBlock>.allocate(capacity: 1)
        unsafe block.initialize(to: ContextBlock(device))
        return OpaquePointer(block)
    }

    /// Ends the life of the block, and of its device with it.
    static func destroy(_ context: OpaquePointer) {
        let block = unsafe UnsafeMutablePointer<ContextBlock>(context)
        unsafe block.pointee.device.release()
        unsafe block.deinitialize(count: 1)
        unsafe block.deallocate()
    }

    private init(_ device: CDevice) {
        let server = device.requiredServer
        unsafe self.device = Unmanaged.passRetained(device)
        unsafe self.server = Unmanaged.passUnretained(server)
        translator = server.translator
    }

    /// Calls `body` with the server, which is there for as long as the context: no reference is counted.
    @inline(__always)
    static func withServer<Result>(of context: OpaquePointer, _ body: (DeviceServer) -> Result) -> Result {
        let block = unsafe UnsafePointer<ContextBlock>(context)
        return unsafe block.pointee.server._withUnsafeGuaranteedRef(body)
    }

    /// NULL, which no program may pass, faults here as it would in C; looking for it first can be measured.
    @inline(__always)
    static func translator(of context: OpaquePointer?) -> Translator {
        let block = unsafe UnsafePointer<ContextBlock>(context)
        return unsafe block.unsafelyUnwrapped.pointee.translator
    }

    /// To be called when the server has set DMA up anew.
    static func refreshTranslator(of context: OpaquePointer) {
        let block = unsafe UnsafeMutablePointer<ContextBlock>(context)
        unsafe block.pointee.translator = device(of: context).requiredServer.translator
    }

    static func device(of context: OpaquePointer) -> CDevice {
        let block = unsafe UnsafePointer<ContextBlock>(context)
        return unsafe block.pointee.device.takeUnretainedValue()
    }
}

/// The device behind a context. NULL is a programming error, as in every C library.
func device(_ context: OpaquePointer!) -> CDevice { unsafe ContextBlock.device(of: context) }

/// The server behind a context.
func server(_ context: OpaquePointer!) -> DeviceServer { unsafe device(context).requiredServer }
