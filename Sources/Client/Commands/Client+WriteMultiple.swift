public import SystemPackage
internal import VFIOUserWire

extension Client {
    /// One of the writes of a REGION_WRITE_MULTI.
    public struct RegionWrite: Sendable, Equatable {
        /// The region.
        public var region: Region
        /// Offset in the region, bytes.
        public var offset: UInt64
        /// Bytes written, 1...8.
        public var count: UInt32
        /// The bytes, the first in the least significant byte.
        public var value: UInt64

        /// Writes an integer of up to 64 bits; of a longer one, its lower half.
        public init<Value: FixedWidthInteger>(_ value: Value, to region: Region, at offset: UInt64) {
            self.region = region
            self.offset = offset
            count = UInt32(min(8, Value.bitWidth / 8))
            self.value = UInt64(truncatingIfNeeded: value)
        }
    }

    /// Makes several small writes by one message (REGION_WRITE_MULTI).
    ///
    /// - Returns: how many were made; all of them, unless one failed.
    /// - Throws: `ENOTSUP` the server did not offer it (`server.writesMultiple`); what the server answers;
    ///   `EPROTO`.
    @discardableResult
    public func write(_ writes: [RegionWrite]) throws(Errno) -> Int {
        guard server.writesMultiple else { throw .notSupported }
        let reply = try perform(.write(writes))
        var reader = Reader(reply.payload.span)
        guard let head = try? RegionWriteMulti(decoding: &reader), head.count <= UInt64(writes.count) else {
            throw .protocolError
        }
        return Int(head.count)
    }

    /// The same without a reply.
    ///
    /// - Throws: `ENOTSUP` the server did not offer it; `ENOTCONN`, `ETIMEDOUT`.
    public func post(_ writes: [RegionWrite]) throws(Errno) {
        guard server.writesMultiple else { throw .notSupported }
        try send(.write(writes).withoutReply())
    }
}

extension Client.Request {
    /// REGION_WRITE_MULTI.
    public static func write(_ writes: [Client.RegionWrite]) -> Self {
        var data: [UInt8] = []
        for write in writes {
            let wire = RegionWriteMulti.Write(
                offset: write.offset, region: write.region.rawValue, count: write.count,
                data: write.value.littleEndian)
            data += (try? bytes(of: wire)) ?? []
        }
        return Self(.regionWriteMulti, RegionWriteMulti(count: UInt64(writes.count)), data: data)
    }
}
