internal import SystemPackage
internal import VFIOUserWire

extension DeviceServer {
    /// REGION_READ.
    func readRegion(_ request: inout Reader, _ reply: inout Writer) throws(Errno) {
        let access = try RegionAccess(decoding: &request)
        let (index, isConfiguration) = try check(access)
        guard access.count > 0 else { return }
        try access.encode(into: &reply)
        var data = try reply.appendZeros(Int(access.count))
        if isConfiguration {
            try readConfigurationSpace(at: Int(access.offset), into: &data)
        } else {
            try device.read(index, at: access.offset, into: &data, on: self)
        }
    }

    /// REGION_WRITE.
    func writeRegion(_ request: inout Reader, _ reply: inout Writer) throws(Errno) {
        let access = try RegionAccess(decodingWithData: &request)
        let (index, isConfiguration) = try check(access)
        guard access.count > 0 else { return }
        let data = request.rest()
        if isConfiguration {
            try writeConfigurationSpace(at: Int(access.offset), from: data)
        } else {
            try device.write(index, at: access.offset, from: data, on: self)
        }
        try access.encode(into: &reply)
    }

    /// REGION_WRITE_MULTI: small writes, each as if it came alone; the reply counts those done before one failed.
    func writeRegions(_ request: inout Reader, _ reply: inout Writer) throws(Errno) {
        guard connection?.writesMultiple ?? false else { throw .invalidArgument }
        let batch = try RegionWriteMulti(decodingRequest: &request)
        var done: UInt64 = 0
        // Nothing is done for a client that went in the middle.
        let serial = connectionSerial
        while done < batch.count, serial == connectionSerial {
            do throws(Errno) {
                try writeOne(&request)
            } catch {
                guard done > 0 else { throw error }
                break
            }
            done += 1
        }
        try RegionWriteMulti(count: done).encode(into: &reply)
    }

    private func writeOne(_ request: inout Reader) throws(Errno) {
        let bytes = try request.take(RegionWriteMulti.Write.byteCount)
        var fields = Reader(bytes)
        let write = try RegionWriteMulti.Write(decoding: &fields)
        let access = RegionAccess(offset: write.offset, region: write.region, count: write.count)
        let (index, isConfiguration) = try check(access)
        guard write.count > 0 else { return }
        // The data is the struct's last field; at most 8 bytes of it count.
        let data = bytes.extracting(16..<16 + Int(write.count))
        if isConfiguration {
            try writeConfigurationSpace(at: Int(access.offset), from: data)
        } else {
            try device.write(index, at: access.offset, from: data, on: self)
        }
    }

    /// Checks that the access lies within a region that takes accesses, now.
    @inline(__always)
    private func check(_ access: RegionAccess) throws(Errno) -> (RegionIndex, isConfiguration: Bool) {
        guard let index = RegionIndex(rawValue: access.region), currentMigrationState != .stopCopy else {
            throw .invalidArgument
        }
        let (end, overflows) = access.offset.addingReportingOverflow(UInt64(access.count))
        let facts = regions.facts(of: index)
        guard !overflows, end <= facts.size else { throw .invalidArgument }
        guard index == .configuration else {
            guard access.count == 0 || facts.isHandled else { throw .invalidArgument }
            return (index, false)
        }
        return (index, !facts.alwaysDevice)
    }
}
