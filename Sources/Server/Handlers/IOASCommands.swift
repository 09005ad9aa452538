internal import SystemPackage
internal import VFIOUserTransport
internal import VFIOUserWire

/// The commands of the iommufd extension.
///
/// Checks go in one order: the payload's length and `argsz` (by the struct itself), what was granted,
/// flags and reserved fields, descriptors, ids, ranges, rights, memory.
extension DeviceServer {
    /// Carries out an IOAS command; in legacy mode there is none.
    func carryOutIOAS(
        _ command: Command, _ request: inout Reader, _ reply: inout Writer
    ) throws(Errno) {
        guard let features = connection?.ioas else { throw .invalidArgument }
        // Closed, unless taken, when this ends.
        var descriptors = inbound.takeDescriptors()
        let count = descriptors.count
        switch command {
        case .ioasAlloc: try allocateIOAS(&request, count, &reply)
        case .ioasDestroy: try destroyIOAS(&request, count)
        case .ioasMap: try mapIOAS(&request, &descriptors, features, &reply)
        case .ioasUnmap: try unmapIOAS(&request, count, features, &reply)
        case .ioasCopy: try copyIOAS(&request, count, features, &reply)
        case .bind: try bindDevice(&request, count, &reply)
        case .attachPT: try attachIOAS(&request, count, features, &reply)
        case .detachPT: try detachIOAS(&request, count)
        case .iovaRanges: try describeIOVAs(&request, count, features, &reply)
        case .compatIOAS: try compatibilityIOAS(&request, count, features, &reply)
        default: throw .invalidArgument
        }
    }

    /// Whether an IOAS command with the id of an address space at `offset` of its payload changes what the
    /// device sees.
    func concernsAttached(at offset: Int, length: Int) -> Bool {
        guard let attached = attachedIOAS else { return false }
        var request = Reader(payload(length: length))
        // Too short to name one: then nothing will change.
        guard (try? request.take(offset)) != nil, (try? request.require(4)) != nil else { return false }
        return request.uint32() == attached
    }

    /// Refuses a command whose feature the client did not get.
    func require(_ feature: IOASFeatures, of features: IOASFeatures) throws(Errno) {
        guard features.contains(feature) else { throw .notSupported }
    }

    /// Refuses a request with anything in fields that must be 0, or with descriptors.
    func requireNone(_ fields: UInt32..., descriptors: Int) throws(Errno) {
        guard fields.allSatisfy({ $0 == 0 }), descriptors == 0 else { throw .invalidArgument }
    }

    /// Judges flags: bits nobody knows, then known ones that are not granted.
    func check(_ flags: UInt32, known: UInt32, granted: UInt32) throws(Errno) {
        guard flags & ~known == 0 else { throw .invalidArgument }
        guard flags & ~granted == 0 else { throw .notSupported }
    }
}
