internal import SystemPackage

/// What a device does while it is migrated. The raw values are those of Linux VFIO's migration protocol, version 2
/// (vfio-user protocol, VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE).
public enum MigrationState: UInt32, CaseIterable, Sendable {
    /// Nothing: no DMA, no interrupts, and the device's state does not change.
    case stop = 1
    /// Its work. Every device starts here.
    case running = 2
    /// Nothing, while the client reads what is left of its state. Regions cannot be accessed.
    case stopCopy = 3
    /// Nothing, while the client writes the state of another device to it.
    case resuming = 4
    /// Its work, while the client reads its state in advance.
    case preCopy = 6
}

extension MigrationState {
    /// The next state on the shortest way to another one: the target itself if there is an arc to it.
    ///
    /// Ways pass through STOP and RUNNING only. One state has no way to one other: what was read in STOP_COPY cannot
    /// become a preview again.
    ///
    /// - Throws: `EINVAL` there is no way.
    func step(toward target: MigrationState) throws(Errno) -> MigrationState {
        switch (self, target) {
        case (.stopCopy, .preCopy): throw .invalidArgument
        case (.stop, .preCopy): .running
        case (.running, .stopCopy), (.running, .resuming): .stop
        case (.stopCopy, _), (.resuming, _): .stop
        case (.preCopy, .stop), (.preCopy, .resuming): .running
        case (.stop, _), (.running, _), (.preCopy, _): target
        }
    }

    /// Whether the client may read the device's state (MIG_DATA_READ).
    var canBeRead: Bool { self == .preCopy || self == .stopCopy }

    /// Whether only commands that leave a stopped device alone are carried out.
    var isStopped: Bool { self == .stop || self == .stopCopy }
}
