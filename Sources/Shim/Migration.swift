// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation
// These functions are documented in the header they implement.

public import CVFIOUser
internal import Glibc
internal import SystemPackage
internal import VFIOUserServer

@_cdecl("vfu_setup_device_migration_callbacks") @implementation
public func vfu_setup_device_migration_callbacks(
    _ vfu_ctx: OpaquePointer!, _ callbacks: UnsafePointer<vfu_migration_callbacks_t>!
) -> CInt {
    result { () throws(Errno) in
        // A whole structure of the caller's, as the API requires.
        guard let callbacks = unsafe callbacks?.pointee,
            callbacks.version == VFU_MIGR_CALLBACKS_VERS, unsafe callbacks.transition != nil,
            unsafe callbacks.read_data != nil, unsafe callbacks.write_data != nil
        else { throw .invalidArgument }
        unsafe try server(vfu_ctx).enableMigration()
        unsafe device(vfu_ctx).migrationCallbacks = callbacks
    }
}

/// Migration by the callbacks, with C's conventions of return values.
///
/// Unsafe because they get raw pointers: to bytes that are valid for the call, whose count goes along.
extension CDevice: MigratableDevice {
    func enter(_ state: MigrationState, on server: DeviceServer) throws(Errno) {
        guard let callback = unsafe migrationCallbacks.transition else { return }
        errno = 0
        if unsafe callback(context, vfu_migr_state_t(state)) != 0 { throw callbackError() }
    }

    func saveState(into data: inout OutputRawSpan, on server: DeviceServer) throws(Errno) {
        guard let callback = unsafe migrationCallbacks.read_data else { return }
        errno = 0
        try unsafe data.withUnsafeMutableBytes { (bytes, count) throws(Errno) in
            let given = unsafe callback(context, bytes.baseAddress, UInt64(bytes.count))
            if given < 0 { throw callbackError() }
            guard given <= bytes.count else { throw .invalidArgument }
            count = given
        }
    }

    func restoreState(from data: RawSpan, on server: DeviceServer) throws(Errno) {
        guard let callback = unsafe migrationCallbacks.write_data else { return }
        errno = 0
        // The callback may not write to the bytes, though C's type does not say so.
        let taken = unsafe data.withUnsafeBytes { bytes in
            unsafe callback(
                context, UnsafeMutableRawPointer(mutating: bytes.baseAddress), UInt64(bytes.count))
        }
        if taken < 0 { throw callbackError() }
        guard taken == data.byteCount else { throw .invalidArgument }
    }
}

extension vfu_migr_state_t {
    fileprivate init(_ state: MigrationState) {
        self =
            switch state {
            case .stop: VFU_MIGR_STATE_STOP
            case .running: VFU_MIGR_STATE_RUNNING
            case .stopCopy: VFU_MIGR_STATE_STOP_AND_COPY
            case .resuming: VFU_MIGR_STATE_RESUME
            case .preCopy: VFU_MIGR_STATE_PRE_COPY
            }
    }
}
