public import SystemPackage

/// A device that can move to another server while its client keeps running.
///
/// The client takes the device through ``MigrationState``s; where it may read or write the device's state, that goes
/// through ``saveState(into:on:)`` and ``restoreState(from:on:)`` as a stream of bytes, whose format is the device's own. Client
/// memory is the client's to move: the server keeps track of what the device writes, once the client asks for that.
///
/// Conform to this and call ``DeviceServer/enableMigration()``.
public protocol MigratableDevice: Device {
    /// The client takes the device to a state. A request may take several steps, each of which is a call; the device is
    /// quiesced during all of them (``Device/quiesce(on:)``).
    ///
    /// - Throws: the errno that the client's request fails with; the device then stays in the state it is in.
    func enter(_ state: MigrationState, on server: DeviceServer) throws(Errno)

    /// The client reads the next piece of the device's state, in ``MigrationState/preCopy`` and ``MigrationState/stopCopy``.
    ///
    /// - Parameter data: to be appended to, as much as there is and fits. Nothing: there is no more for now, in
    ///   ``MigrationState/stopCopy`` at all.
    /// - Throws: the errno that the client's request fails with.
    func saveState(into data: inout OutputRawSpan, on server: DeviceServer) throws(Errno)

    /// The client writes the next piece of the device's state, in ``MigrationState/resuming``. Pieces need not be those that
    /// were read. What is in them comes from the client, who may have made it up.
    ///
    /// - Throws: the errno that the client's request fails with.
    func restoreState(from data: RawSpan, on server: DeviceServer) throws(Errno)
}

extension DeviceServer {
    /// Lets clients migrate the device and log what it writes to their memory. Call it before ``attach()``, since clients
    /// are told when they are attached. A second call takes the device back to ``MigrationState/running``.
    ///
    /// - Throws: `ENOTSUP` the device is not a ``MigratableDevice``.
    public func enableMigration() throws(Errno) {
        guard let device = device as? any MigratableDevice else { throw .notSupported }
        migratable = device
        currentMigrationState = .running
    }

    /// Whether the device can be migrated.
    var canMigrate: Bool { migratable != nil }
}
