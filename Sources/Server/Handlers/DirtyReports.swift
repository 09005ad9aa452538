internal import SystemPackage
internal import VFIOUserAddressSpace
internal import VFIOUserTransport
internal import VFIOUserWire

extension DeviceServer {
    /// Bytes of the longest bitmap: 8 TiB, the largest mapping, in pages of 4 KiB. It bounds the time that one request
    /// can take.
    private static let largestBitmap: UInt64 = 256 << 20

    /// DEVICE_FEATURE DMA_LOGGING_REPORT, GET: which pages of a range the device has written.
    ///
    /// A bitmap that does not fit into the reply's memory follows it: it is made while it is sent.
    func reportDirtyPages(
        _ head: DeviceFeature, _ request: inout Reader, _ reply: inout Writer
    ) throws(Errno) {
        let range = try DMALoggingReport(decoding: &request)
        guard doesDMA else { throw .invalidArgument }
        let bitmap = try DirtyReport.byteCount(range.length, pageSize: range.pageSize)
        let fixed = DeviceFeature.byteCount + DMALoggingReport.byteCount
        guard bitmap <= Self.largestBitmap, bitmap + UInt64(fixed) <= head.argsz else {
            throw .invalidArgument
        }
        var report = try spaces.report(range.iova, range.length, pageSize: range.pageSize)
        try DeviceFeature(head.flags, argsz: UInt32(clamping: bitmap + UInt64(fixed))).encode(into: &reply)
        try range.encode(into: &reply)
        guard report.byteCount <= reply.space else {
            replyTail = consume report
            return
        }
        try report.append(to: &reply)
    }

    /// DMA_UNMAP with GET_DIRTY_BITMAP: what is dirty. Reading it clears it, which must wait until it is certain that
    /// the mapping goes.
    func reportDirtyPages(_ unmap: DMAUnmap) throws(Errno) -> DirtyReport {
        guard let bitmap = unmap.bitmap else { throw .invalidArgument }
        guard unmap.size > 0 else { throw .noSuchFileOrDirectory }
        // Unlike in DMA_LOGGING_REPORT, the range is judged before the page size.
        _ = try spaces.report(unmap.address, unmap.size, pageSize: 1)
        let report = try spaces.report(unmap.address, unmap.size, pageSize: bitmap.pageSize)
        guard report.byteCount == bitmap.size else { throw .invalidArgument }
        return report
    }

    /// Sends a reply whose payload goes on behind its first `count` bytes, after all that waits.
    func send(_ header: MessageHeader, count: Int, _ tail: consuming DirtyReport, to output: CInt)
        throws(Errno)
    {
        var tail = tail
        let rest = Int(clamping: tail.byteCount)
        outbound.commit(header, count: count, followedBy: rest)
        do throws(Errno) {
            try outbound.stream(rest, to: output) { tail.append(to: &$0) }
        } catch {
            // Part of the reply may be out, so nothing else can follow it, whatever the reason.
            lostWhileReplying()
            if !Self.meansDisconnected(error) { throw error }
        }
    }
}

extension DirtyReport {
    /// Appends all of the bitmap.
    mutating func append(to reply: inout Writer) throws(Errno) {
        try reply.append(Int(clamping: byteCount)) { append(to: &$0) }
    }
}
