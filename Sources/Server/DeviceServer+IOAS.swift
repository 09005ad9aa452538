public import SystemPackage
internal import VFIOUserAddressSpace
internal import VFIOUserSystem
internal import VFIOUserWire

let pageSize = systemPageSize

/// How a device server treats client memory.
struct MemorySettings {
    var policy = IOASPolicy.auto
    var iovas = IOVAPolicy.opaque()
    var limits = IOVALimits.none
    var files = FilePolicy()
}

extension DeviceServer {
    /// Chooses IOAS mode or legacy mode, and where IOVAs come from in IOAS mode.
    ///
    /// Without a call it is ``IOASPolicy/auto`` with opaque IOVAs.
    ///
    /// - Throws: `EINVAL` after ``realize()``.
    public func setIOASPolicy(_ policy: IOASPolicy, iovas: IOVAPolicy = .opaque()) throws(Errno) {
        guard !isRealized else { throw .invalidArgument }
        memorySettings.policy = policy
        memorySettings.iovas = iovas
    }

    /// Limits the IOVAs that clients and allocators may choose in IOAS mode.
    ///
    /// - Throws: `EINVAL` after ``realize()``.
    public func setIOVALimits(_ limits: IOVALimits) throws(Errno) {
        guard !isRealized else { throw .invalidArgument }
        memorySettings.limits = limits
    }

    /// The IOVAs that clients and allocators may choose in IOAS mode.
    public var iovaLimits: IOVALimits { memorySettings.limits }

    /// Whether files that clients map must be sealed against shrinking (`F_SEAL_SHRINK`): other
    /// descriptors are refused with `EPERM`, whatever the mode, and mappings that end behind their file with `EINVAL`.
    /// Holds for mappings made from then on.
    public var requiresSealedMemory: Bool {
        get { memorySettings.files.requiresSeals }
        set { setFilePolicy { $0.requiresSeals = newValue } }
    }

    /// Whether the library's copies to and from mapped files that are not sealed against shrinking go by
    /// pread and pwrite, so that a client that shortens its file causes `EFAULT` and not SIGBUS. Addresses
    /// that a device uses itself are not protected. Mappings that end behind their file are refused with `EINVAL`. Holds
    /// for mappings made from then on.
    public var guardsMemory: Bool {
        get { memorySettings.files.guardsCopies }
        set { setFilePolicy { $0.guardsCopies = newValue } }
    }

    private func setFilePolicy(_ change: (inout FilePolicy) -> Void) {
        change(&memorySettings.files)
        spaces.filePolicy = memorySettings.files
    }

    /// Whether the present client uses IOAS mode; `nil` without a client.
    public var usesIOAS: Bool? {
        guard isAttached else { return nil }
        return connection?.ioas != nil
    }

    /// The id of the address space that the device sees; `nil` if none is attached, in legacy mode, and
    /// without a client.
    public var attachedIOAS: UInt32? {
        usesIOAS == true ? spaces.attachedID : nil
    }

    /// The client memory that the device sees with exactly this range.
    ///
    /// - Parameter size: bytes.
    /// - Returns: `nil` if there is none: nothing there, another range, or its address space is not attached.
    public func dmaRegion(at address: UInt64, size: UInt64) -> DMARegion? {
        spaces.attachedMapping(exactly: address, size).map(DMARegion.init)
    }

    /// The features of IOAS mode to grant; `nil` for legacy mode.
    ///
    /// - Throws: `ENOTSUP` IOAS mode is required and not offered.
    func agreeOnIOAS(_ offered: IOASFeatures?) throws(Errno) -> IOASFeatures? {
        guard memorySettings.policy != .off, doesDMA else { return nil }
        if offered == nil, memorySettings.policy == .require {
            log(
                .error,
                "the client does not offer I/O address spaces (capability iommufd), which this device requires"
            )
            throw .notSupported
        }
        return offered
    }

    /// What `require` needs. Throws `EINVAL`.
    func checkIOASPolicy() throws(Errno) {
        guard memorySettings.policy != .require || doesDMA else { throw .invalidArgument }
    }
}
