internal import SystemPackage
internal import VFIOUserPCI

extension DeviceServer {
    /// Reads configuration space: from memory, but for what the device reads itself. The access is within the region.
    func readConfigurationSpace(at offset: Int, into data: inout MutableRawSpan) throws(Errno) {
        guard let configuration else { throw .invalidArgument }
        var done = 0
        while done < data.byteCount {
            let segment = configuration.segment(
                at: offset + done, remaining: data.byteCount - done, write: false)
            let range = done..<done + segment.length
            switch segment.handler {
            case .memory:
                var part = data._mutatingExtracting(range)
                configuration.read(at: segment.offset, into: &part)
                done += segment.length
            case .callback:
                var part = data._mutatingExtracting(range)
                let count = try device.readConfiguration(at: segment.offset, into: &part, on: self)
                done += try progress(count, of: segment.length)
            case .refused(let error): throw error
            case .register, .capability: throw .invalidArgument
            }
        }
    }

    /// Writes configuration space, register by register. What was written before a part that fails stays.
    func writeConfigurationSpace(at offset: Int, from data: RawSpan) throws(Errno) {
        guard let configuration else { throw .invalidArgument }
        var done = 0
        while done < data.byteCount {
            let segment = configuration.segment(
                at: offset + done, remaining: data.byteCount - done, write: true)
            let part = data.extracting(done..<done + segment.length)
            switch segment.handler {
            case .register, .capability:
                let effect = try configuration.write(segment, from: part)
                if case .functionLevelReset = effect {
                    try telling { () throws(Errno) in try device.reset(.functionLevel, on: self) }
                }
                done += segment.length
            case .callback:
                let count = try device.writeConfiguration(at: segment.offset, from: part, on: self)
                done += try progress(count, of: segment.length)
            case .refused(let error): throw error
            case .memory: throw .invalidArgument
            }
        }
    }

    /// What the device says it did of a segment: at least one byte, at most all.
    private func progress(_ count: Int, of length: Int) throws(Errno) -> Int {
        guard count > 0, count <= length else { throw .invalidArgument }
        return count
    }
}
