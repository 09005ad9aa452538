// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation

internal import Glibc
internal import SystemPackage
internal import VFIOUserServer

// The header's callback types, as pointers to C functions.
public typealias IOVAAllocateCallback =
    @convention(c) (
        OpaquePointer?, UnsafeMutableRawPointer?, UInt64, CInt, UInt64, UnsafeMutablePointer<UInt64>?
    ) -> CInt
public typealias IOVAFreeCallback = @convention(c) (OpaquePointer?, UInt64, UInt64) -> Void
public typealias IOASCallback = @convention(c) (OpaquePointer?, UInt32) -> Void

/// How a device written in C lets its clients map memory.
struct CMemoryPolicy {
    var policy = IOASPolicy.auto
    var iovas = IOVAPolicy.serverAddress
    /// Goes before `iovas`, whichever was set last.
    var allocator: CIOVAAllocator?
}

extension CDevice {
    func setIOASPolicy(_ policy: IOASPolicy, _ iovas: IOVAPolicy) throws(Errno) {
        var memory = memoryPolicy
        memory.policy = policy
        memory.iovas = iovas
        try set(memory)
    }

    func setIOVAAllocator(_ allocator: CIOVAAllocator?) throws(Errno) {
        var memory = memoryPolicy
        memory.allocator = allocator
        try set(memory)
    }

    /// Tells the server. Throws `EINVAL` when it is too late.
    func set(_ memory: CMemoryPolicy) throws(Errno) {
        let iovas = memory.allocator.map { IOVAPolicy.custom($0) } ?? memory.iovas
        try requiredServer.setIOASPolicy(memory.policy, iovas: iovas)
        memoryPolicy = memory
    }

    func addressSpaceChanged(to id: UInt32?, on server: DeviceServer) {
        unsafe addressSpaceCallback?(context, id ?? 0)
    }
}

/// An allocator written in C.
///
/// Unsafe because the callbacks get raw pointers: the context, which lives for as long as the server that
/// uses this, and the address of the memory, which is not touched here.
@safe final class CIOVAAllocator: IOVAAllocator {
    private let context: OpaquePointer
    private let allocate: IOVAAllocateCallback
    private let free: IOVAFreeCallback?

    init(_ context: OpaquePointer, _ allocate: @escaping IOVAAllocateCallback, _ free: IOVAFreeCallback?) {
        unsafe self.context = context
        unsafe self.allocate = allocate
        unsafe self.free = free
    }

    func allocateIOVA(for memory: IOVARequest, on server: DeviceServer) throws(Errno) -> UInt64 {
        var iova: UInt64 = 0
        errno = 0
        let result = unsafe allocate(
            context, memory.address, memory.size, memory.file?.rawValue ?? -1, memory.fileOffset, &iova)
        guard result >= 0 else {
            let error = callbackError()
            throw error.rawValue == 0 ? .noSpace : error
        }
        return iova
    }

    func freeIOVA(_ iova: UInt64, size: UInt64, on server: DeviceServer) {
        unsafe free?(context, iova, size)
    }
}
