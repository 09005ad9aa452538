internal import SystemPackage
internal import VFIOUserClient

extension Controller {
    /// The identifiers of the namespaces that are active, ascending; at most the first 1024.
    public func namespaceIdentifiers() throws(NVMeError) -> [UInt32] {
        let page = try identify(0x02)
        var identifiers: [UInt32] = []
        for place in 0..<1024 {
            let identifier = UInt32(truncatingIfNeeded: page.integer(4 * place, 4))
            // The list ends with the first 0; a list that does not ascend is none.
            guard identifier > identifiers.last ?? 0 else { break }
            identifiers.append(identifier)
        }
        return identifiers
    }

    /// What there is to know about a namespace.
    ///
    /// - Throws: `.unsupported` there is none, or its format is not supported; `.command`; `.connection`.
    public func namespace(_ identifier: UInt32) throws(NVMeError) -> Namespace {
        guard identifier != 0, identifier != .max else { throw .unsupported(.namespace(identifier)) }
        do throws(NVMeError) {
            return try Namespace(identifier, identify(0x00, namespace: identifier))
        } catch {
            // Invalid namespace.
            if case .command(let status) = error, status.type == 0, status.code == 0x0b {
                throw .unsupported(.namespace(identifier))
            }
            throw error
        }
    }

    func identify() throws(NVMeError) { identity = ControllerIdentity(try identify(0x01)) }

    func askForQueues() throws(NVMeError) {
        let granted = try admin.execute(.setQueueCount(options.queueCount))
        // From 0, submission queues in the low half, completion queues in the high one.
        queueCount = min(options.queueCount, Int(granted & 0xffff) + 1, Int(granted >> 16) + 1, 65534)
    }

    private func identify(_ kind: UInt32, namespace: UInt32 = 0) throws(NVMeError) -> [UInt8] {
        try admin.execute(.identify(kind, namespace: namespace, to: page.iova))
        return try connection { () throws(Errno) in
            try page.memory.read(at: 0, count: DataPointer.pageSize)
        }
    }
}
