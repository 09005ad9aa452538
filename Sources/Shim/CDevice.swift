// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation

public import CVFIOUser
internal import Glibc
internal import SystemPackage
internal import VFIOUserAddressSpace
internal import VFIOUserServer

// The header's callback types, as pointers to C functions.
public typealias RegionAccessCallback =
    @convention(c) (OpaquePointer?, UnsafeMutablePointer<CChar>?, Int, loff_t, Bool) -> Int
public typealias QuiesceCallback = @convention(c) (OpaquePointer?) -> CInt
public typealias ResetCallback = @convention(c) (OpaquePointer?, vfu_reset_type_t) -> CInt
public typealias DMACallback = @convention(c) (OpaquePointer?, UnsafeMutablePointer<vfu_dma_info_t>?) -> Void
public typealias InterruptStateCallback = @convention(c) (OpaquePointer?, UInt32, UInt32, Bool) -> Void
public typealias LogCallback = @convention(c) (OpaquePointer?, CInt, UnsafePointer<CChar>?) -> Void

/// A device written in C: its callbacks and the context they get.
///
/// It adds nothing to what the server does but C's conventions of return values. Data goes to the callbacks where it is.
///
/// Unsafe because callbacks get raw pointers: to the context, which lives as long as this object, and to bytes that
/// are valid for the call, whose count goes along.
@safe final class CDevice: Device {
    /// Set right after creation, and valid as long as this object.
    var context: OpaquePointer?
    /// Set right after creation. The server keeps the device alive in turn until the context is destroyed.
    var server: DeviceServer?
    /// The server; it is there from creation to destruction of the context.
    var requiredServer: DeviceServer {
        guard let server else { preconditionFailure("the context is being destroyed") }
        return server
    }
    let privateData: UnsafeMutableRawPointer?

    /// One for each region; plain memory, since every access looks here.
    let regionAccess: UnsafeMutablePointer<RegionAccessCallback?>
    var quiesceCallback: QuiesceCallback?
    var resetCallback: ResetCallback?
    var registerCallback: DMACallback?
    var unregisterCallback: DMACallback?
    var addressSpaceCallback: IOASCallback?
    var memoryPolicy = CMemoryPolicy()
    /// All there once the server was told that the device can be migrated.
    var migrationCallbacks = vfu_migration_callbacks_t()
    var interruptState = unsafe [InterruptStateCallback?](repeating: nil, count: InterruptKind.allCases.count)
    var logCallback: LogCallback?

    init(privateData: UnsafeMutableRawPointer?) {
        unsafe self.privateData = privateData
        let count = RegionIndex.allCases.count
        unsafe regionAccess = .allocate(capacity: count)
        unsafe regionAccess.initialize(repeating: nil, count: count)
    }

    deinit { unsafe regionAccess.deallocate() }

    func read(
        _ region: RegionIndex, at offset: UInt64, into data: inout MutableRawSpan, on server: DeviceServer
    ) throws(Errno) {
        let wanted = data.byteCount
        let count = unsafe data.withUnsafeMutableBytes { bytes in
            unsafe access(region, bytes.baseAddress, wanted, offset, false)
        }
        try Self.check(count, wanted: wanted)
    }

    func write(
        _ region: RegionIndex, at offset: UInt64, from data: RawSpan, on server: DeviceServer
    ) throws(Errno) {
        let wanted = data.byteCount
        let count = unsafe data.withUnsafeBytes { bytes in
            unsafe access(region, UnsafeMutableRawPointer(mutating: bytes.baseAddress), wanted, offset, true)
        }
        try Self.check(count, wanted: wanted)
    }

    func readConfiguration(
        at offset: Int, into data: inout MutableRawSpan, on server: DeviceServer
    ) throws(Errno) -> Int {
        let wanted = data.byteCount
        let count = unsafe data.withUnsafeMutableBytes { bytes in
            unsafe access(.configuration, bytes.baseAddress, wanted, UInt64(offset), false)
        }
        return try Self.progress(count, wanted: wanted)
    }

    func writeConfiguration(at offset: Int, from data: RawSpan, on server: DeviceServer) throws(Errno) -> Int
    {
        let wanted = data.byteCount
        let count = unsafe data.withUnsafeBytes { bytes in
            unsafe access(
                .configuration, UnsafeMutableRawPointer(mutating: bytes.baseAddress), wanted, UInt64(offset),
                true)
        }
        return try Self.progress(count, wanted: wanted)
    }

    /// What a region callback returned: bytes, a negated errno, or `nil` where there is no callback. A callback that fails
    /// without saying why (`errno` 0) has not failed.
    private func access(
        _ region: RegionIndex, _ bytes: UnsafeMutableRawPointer?, _ count: Int, _ offset: UInt64,
        _ isWrite: Bool
    ) -> Int? {
        guard let callback = unsafe regionAccess[Int(region.rawValue)] else { return nil }
        let characters = unsafe bytes?.assumingMemoryBound(to: CChar.self)
        errno = 0
        let result = unsafe callback(context, characters, count, loff_t(truncatingIfNeeded: offset), isWrite)
        guard result < 0 else { return result }
        return errno == 0 ? count : -Int(errno)
    }

    private static func check(_ count: Int?, wanted: Int) throws(Errno) {
        guard try progress(count, wanted: wanted) == wanted else { throw .invalidArgument }
    }

    private static func progress(_ count: Int?, wanted: Int) throws(Errno) -> Int {
        guard let count else { throw .invalidArgument }
        guard count >= 0 else { throw Errno(rawValue: CInt(clamping: -count)) }
        return count
    }

    func quiesce(on server: DeviceServer) throws(Errno) -> QuiesceState {
        guard let callback = unsafe quiesceCallback else { return .quiesced }
        errno = 0
        guard unsafe callback(context) < 0 else { return .quiesced }
        let error = callbackError()
        guard error == .resourceBusy else { throw error.rawValue == 0 ? .invalidArgument : error }
        return .pending
    }

    func reset(_ kind: ResetKind, on server: DeviceServer) throws(Errno) {
        guard let callback = unsafe resetCallback else { return }
        let type = vfu_reset_type_t(rawValue: UInt32(kind.rawValue))
        errno = 0
        // As with regions, one that does not say why has not failed.
        if unsafe callback(context, type) < 0, errno != 0 { throw callbackError() }
    }

    func interruptsMasked(
        _ kind: InterruptKind, vectors: Range<UInt32>, masked: Bool, on server: DeviceServer
    ) {
        unsafe interruptState[Int(kind.rawValue)]?(context, vectors.lowerBound, UInt32(vectors.count), masked)
    }

    func dmaRegionAdded(_ region: DMARegion, on server: DeviceServer) {
        unsafe registerCallback?(context, info(region))
    }

    func dmaRegionRemoved(_ region: DMARegion, on server: DeviceServer) {
        unsafe unregisterCallback?(context, info(region))
    }

    /// The library's own record of the region, which begins with the C structure.
    private func info(_ region: DMARegion) -> UnsafeMutablePointer<vfu_dma_info_t> {
        unsafe region.mapping.info.assumingMemoryBound(to: vfu_dma_info_t.self)
    }
}
