internal import Glibc
package import SystemPackage
package import VFIOUserAddressSpace

/// Copies between client memory and the device's, for one piece of a translated range.
///
/// Direct copies may be made on any thread while the device is not quiesced, so they look at nothing but the mappings:
/// even whether a quiesce is pending is for the server's own thread to know.
extension DeviceServer {
    /// Copies all of a piece to `buffer`, which has room for it.
    ///
    /// - Parameter directly: not by messages, if the piece can be reached without.
    /// - Throws: `EINVAL` a piece that is no more; `EIO` its file cannot be read; by message also
    ///   `EBUSY` a quiesce is pending, what the client answers, `EPROTO`, and `ENOTCONN`.
    @unsafe
    package func read(
        _ entry: SGEntry, into buffer: UnsafeMutableRawPointer, directly: Bool
    ) throws(Errno) {
        if directly, try unsafe spaces.translator.read(entry, into: buffer) { return }
        guard case .none = pending else { throw .resourceBusy }
        try spaces.translator.validate(entry)
        try unsafe readByMessage(entry.address, into: buffer, count: Int(clamping: entry.length))
    }

    /// Copies all of `buffer` to a piece; as ``read(_:into:directly:)``.
    ///
    /// - Throws: also `EPERM`: the piece was not translated for writing.
    @unsafe
    package func write(_ entry: SGEntry, from buffer: UnsafeRawPointer, directly: Bool) throws(Errno) {
        guard entry.isWriteable else { throw .notPermitted }
        if directly, try unsafe spaces.translator.write(entry, from: buffer) { return }
        guard case .none = pending else { throw .resourceBusy }
        try spaces.translator.validate(entry)
        try unsafe writeByMessage(entry.address, from: buffer, count: Int(clamping: entry.length))
    }

    /// What translates addresses for the device. Good until ``enableDMA(maxRegions:)`` is called again or the server goes.
    package var translator: Translator { spaces.translator }
}
