public import SystemPackage
internal import VFIOUserTransport
internal import VFIOUserWire

extension Client {
    /// What a device can do about migration.
    public struct MigrationSupport: OptionSet, Hashable, Sendable {
        /// The bits on the wire.
        public let rawValue: UInt64
        /// Any bits.
        public init(rawValue: UInt64) { self.rawValue = rawValue }

        /// It can be saved while it is stopped.
        public static var stopCopy: Self { Self(rawValue: 1 << 0) }
        /// It can be kept from its peers.
        public static var peerToPeer: Self { Self(rawValue: 1 << 1) }
        /// It can be saved while it runs.
        public static var preCopy: Self { Self(rawValue: 1 << 2) }
    }

    /// A migration state of the device; numbers are Linux VFIO's.
    public struct MigrationState: RawRepresentable, Hashable, Sendable, ExpressibleByIntegerLiteral {
        /// The number on the wire.
        public let rawValue: UInt32
        /// Any number.
        public init(rawValue: UInt32) { self.rawValue = rawValue }
        /// Any number.
        public init(integerLiteral value: UInt32) { self.init(rawValue: value) }

        /// Only a reset helps.
        public static var error: Self { 0 }
        /// Stopped.
        public static var stop: Self { 1 }
        /// At work.
        public static var running: Self { 2 }
        /// Stopped, being saved.
        public static var stopCopy: Self { 3 }
        /// Stopped, being loaded.
        public static var resuming: Self { 4 }
        /// At work, but without access to peers.
        public static var runningP2P: Self { 5 }
        /// At work, being saved.
        public static var preCopy: Self { 6 }
        /// Being saved, without access to peers.
        public static var preCopyP2P: Self { 7 }
    }

    /// Asks what the device can do about migration.
    public func migrationSupport() throws(Errno) -> MigrationSupport {
        let data = try feature(.migration, .get, argumentSize: 16)
        return try decodingReply { () throws(Errno) in
            var reader = Reader(data.span)
            return MigrationSupport(
                rawValue: try VFIOUserWire.MigrationSupport(decoding: &reader).flags.rawValue)
        }
    }

    /// Asks for the migration state.
    public func migrationState() throws(Errno) -> MigrationState {
        let data = try feature(.migrationState, .get, argumentSize: 16)
        return try decodingReply { () throws(Errno) in
            var reader = Reader(data.span)
            return MigrationState(rawValue: try MigrationDeviceState(decoding: &reader).deviceState)
        }
    }

    /// Brings the device into a migration state.
    public func setMigrationState(_ state: MigrationState) throws(Errno) {
        var wire = MigrationDeviceState(.stop)
        wire.deviceState = state.rawValue
        try feature(.migrationState, .set, data: Request.bytes(of: wire))
    }

    /// Begins to log what the device writes.
    ///
    /// - Parameters:
    ///   - pageSize: bytes of a page of the log.
    ///   - ranges: IOVA and bytes of what is to be logged; servers may log everything.
    public func startDMALogging(pageSize: UInt64, ranges: [(iova: UInt64, size: UInt64)] = []) throws(Errno) {
        var data = try Request.bytes(
            of: DMALoggingStart(pageSize: pageSize, rangeCount: UInt32(clamping: ranges.count)))
        for range in ranges {
            data += try Request.bytes(of: DMALoggingStart.Range(iova: range.iova, length: range.size))
        }
        try feature(.loggingStart, .set, data: data)
    }

    /// Stops logging.
    public func stopDMALogging() throws(Errno) { try feature(.loggingStop, .set) }

    /// Asks which pages of a range the device has written, and marks them clean.
    ///
    /// - Throws: `EINVAL` a page size of 0, or an answer too long for a message; what the server answers;
    ///   `EPROTO`.
    public func dirtyPages(_ iova: UInt64, size: UInt64, pageSize: UInt64) throws(Errno) -> DirtyBitmap {
        let report = DMALoggingReport(iova: iova, length: size, pageSize: pageSize)
        let fixed = DeviceFeature.byteCount + DMALoggingReport.byteCount
        guard let count = report.bitmapByteCount,
            count <= UInt64(Int(Limits.maxArgumentByteCount) - fixed)
        else { throw .invalidArgument }
        let data = try feature(
            .loggingReport, .get, data: Request.bytes(of: report), argumentSize: UInt32(fixed) + UInt32(count)
        )
        var reader = Reader(data.span)
        guard let echo = try? DMALoggingReport(decoding: &reader), echo == report,
            reader.remaining == Int(count)
        else {
            throw .protocolError
        }
        return DirtyBitmap(
            iova: iova, size: size, pageSize: pageSize,
            bytes: Array(data.dropFirst(DMALoggingReport.byteCount)))
    }

    /// Reads the next piece of the device's migration data (MIG_DATA_READ).
    ///
    /// - Parameter limit: most bytes; cut to ``maxTransfer``.
    /// - Returns: the bytes, none at the end of the stream.
    public func readMigrationData(upTo limit: Int) throws(Errno) -> [UInt8] {
        guard limit >= 0 else { throw .invalidArgument }
        let size = min(limit, maxTransfer)
        return try channel.exchange(.migDataRead, MigrationData(size: UInt32(size))) {
            payload, _ throws(Errno) in
            var reader = Reader(payload)
            guard let head = try? MigrationData(decodingWithData: &reader), head.size <= size else {
                throw .protocolError
            }
            // Copied while the message is in place.
            return unsafe try reader.take(Int(head.size)).withUnsafeBytes { unsafe Array($0) }
        }
    }

    /// Writes migration data to the device (MIG_DATA_WRITE), in pieces of at most ``maxTransfer``.
    ///
    /// - Throws: what the server answers; pieces before the failing one are written.
    public func writeMigrationData(_ bytes: [UInt8]) throws(Errno) {
        var rest = bytes[...]
        repeat {
            let piece = rest.prefix(maxTransfer)
            rest = rest.dropFirst(piece.count)
            try perform(Request(.migDataWrite, MigrationData(size: UInt32(piece.count)), data: Array(piece)))
        } while !rest.isEmpty
    }
}
