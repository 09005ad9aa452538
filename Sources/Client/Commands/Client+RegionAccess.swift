public import SystemPackage
internal import VFIOUserTransport
internal import VFIOUserWire

extension Client {
    /// Reads an integer by one REGION_READ of its width. Allocates nothing.
    ///
    /// - Throws: `EINVAL` for one of more than 64 bits; what the server answers.
    @inlinable
    public func read<Value: FixedWidthInteger>(
        _ region: Region, at offset: UInt64, as type: Value.Type = Value.self
    ) throws(Errno) -> Value {
        Value(truncatingIfNeeded: try readScalar(region, offset, width: MemoryLayout<Value>.size))
    }

    /// Writes an integer by one REGION_WRITE of its width, and waits until that is done. Allocates nothing.
    ///
    /// - Throws: `EINVAL` for one of more than 64 bits; what the server answers.
    @inlinable
    public func write<Value: FixedWidthInteger>(
        _ value: Value, to region: Region, at offset: UInt64
    ) throws(Errno) {
        try writeScalar(
            UInt64(truncatingIfNeeded: value), width: MemoryLayout<Value>.size, region, offset,
            isPosted: false)
    }

    /// Writes an integer by one REGION_WRITE that is not answered: the call returns when the request is sent.
    /// For doorbells of regions that cannot be mapped. Allocates nothing.
    ///
    /// - Throws: `EINVAL` for one of more than 64 bits; `ENOTCONN`, `ETIMEDOUT`. Errors of the server do not
    ///   come back.
    @inlinable
    public func post<Value: FixedWidthInteger>(
        _ value: Value, to region: Region, at offset: UInt64
    ) throws(Errno) {
        try writeScalar(
            UInt64(truncatingIfNeeded: value), width: MemoryLayout<Value>.size, region, offset, isPosted: true
        )
    }

    @usableFromInline
    func readScalar(_ region: Region, _ offset: UInt64, width: Int) throws(Errno) -> UInt64 {
        guard width <= MemoryLayout<UInt64>.size else { throw .invalidArgument }
        let request = RegionAccess(offset: offset, region: region.rawValue, count: UInt32(width))
        return try channel.exchange(.regionRead, request) { payload, _ throws(Errno) in
            var data = try Self.data(of: payload, request)
            var value: UInt64 = 0
            // The least significant byte comes first.
            for shift in 0..<width { value |= UInt64(data.uint8()) << UInt64(shift * 8) }
            return value
        }
    }

    @usableFromInline
    func writeScalar(
        _ value: UInt64, width: Int, _ region: Region, _ offset: UInt64, isPosted: Bool
    ) throws(Errno) {
        guard width <= MemoryLayout<UInt64>.size else { throw .invalidArgument }
        let request = RegionAccess(offset: offset, region: region.rawValue, count: UInt32(width))
        let id = try channel.newID()
        // The value's first bytes, which stay there during the call.
        try unsafe withUnsafeBytes(of: value.littleEndian) { bytes throws(Errno) in
            try channel.send(
                .regionWrite, id: id, flags: isPosted ? .noReply : [], request,
                data: unsafe BorrowedBytes(UnsafeRawBufferPointer(rebasing: bytes[..<width])))
        }
        guard !isPosted else { return }
        try channel.awaitReply(to: id, command: Command.regionWrite.rawValue) { payload, _ throws(Errno) in
            try Self.checkWritten(payload, request)
        }
    }

    /// Reads bytes, in pieces of at most ``maxTransfer``.
    ///
    /// - Throws: what the server answers; pieces before the failing one are read.
    public func read(_ region: Region, at offset: UInt64, into target: inout MutableSpan<UInt8>) throws(Errno)
    {
        var done = 0
        repeat {
            let request = try piece(region, offset, done, target.count)
            try channel.exchange(.regionRead, request) { payload, _ throws(Errno) in
                var data = try Self.data(of: payload, request)
                let bytes = try data.take(Int(request.count))
                unsafe target.withUnsafeMutableBytes { target in
                    // request.count bytes are there on both sides; a message is never part of the target.
                    unsafe bytes.withUnsafeBytes {
                        unsafe UnsafeMutableRawBufferPointer(rebasing: target[done...]).copyMemory(from: $0)
                    }
                }
            }
            done += Int(request.count)
        } while done < target.count
    }

    /// Reads bytes, in pieces of at most ``maxTransfer``.
    ///
    /// - Throws: `EINVAL` for a negative count; what the server answers.
    public func read(_ region: Region, at offset: UInt64, count: Int) throws(Errno) -> [UInt8] {
        guard count >= 0 else { throw .invalidArgument }
        var bytes = [UInt8](repeating: 0, count: count)
        var span = bytes.mutableSpan
        try read(region, at: offset, into: &span)
        return bytes
    }

    /// Writes bytes, in pieces of at most ``maxTransfer``, waiting for each.
    ///
    /// - Throws: what the server answers; pieces before the failing one are written.
    public func write(_ bytes: Span<UInt8>, to region: Region, at offset: UInt64) throws(Errno) {
        var done = 0
        repeat {
            let request = try piece(region, offset, done, bytes.count)
            // The span outlives the call.
            try unsafe bytes.withUnsafeBytes { source throws(Errno) in
                let piece = unsafe UnsafeRawBufferPointer(
                    rebasing: source[done..<(done + Int(request.count))])
                try channel.exchange(.regionWrite, request, data: unsafe BorrowedBytes(piece)) {
                    payload, _ throws(Errno) in try Self.checkWritten(payload, request)
                }
            }
            done += Int(request.count)
        } while done < bytes.count
    }

    /// Writes bytes, in pieces of at most ``maxTransfer``, waiting for each.
    ///
    /// - Throws: what the server answers; pieces before the failing one are written.
    public func write(_ bytes: [UInt8], to region: Region, at offset: UInt64) throws(Errno) {
        try write(bytes.span, to: region, at: offset)
    }

    private func piece(
        _ region: Region, _ offset: UInt64, _ done: Int, _ count: Int
    ) throws(Errno) -> RegionAccess {
        let (place, overflow) = offset.addingReportingOverflow(UInt64(done))
        guard !overflow else { throw .invalidArgument }
        return RegionAccess(
            offset: place, region: region.rawValue, count: UInt32(min(count - done, maxTransfer)))
    }

    /// The data of a read reply that repeats the request.
    @_lifetime(copy payload)
    private static func data(of payload: RawSpan, _ request: RegionAccess) throws(Errno) -> Reader {
        var reader = Reader(payload)
        // An empty access is answered by an empty payload.
        if request.count == 0, payload.isEmpty { return reader }
        guard let echo = try? RegionAccess(decodingWithData: &reader), echo == request else {
            throw .protocolError
        }
        return reader
    }

    private static func checkWritten(_ payload: RawSpan, _ request: RegionAccess) throws(Errno) {
        if request.count == 0, payload.isEmpty { return }
        var reader = Reader(payload)
        guard let echo = try? RegionAccess(decoding: &reader), echo == request else { throw .protocolError }
    }
}
