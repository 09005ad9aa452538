internal import SystemPackage
internal import VFIOUserClient

extension Controller {
    /// Entries of the largest queue pair.
    public var maxQueueEntries: Int { min(capabilities.maxQueueEntries, 4096) }

    /// Most bytes of one command.
    public var maxTransfer: Int { min(options.maxTransfer, identity.maxTransfer ?? .max) }

    /// Makes a pair of I/O queues.
    ///
    /// - Parameter entries: of each queue, 2...``maxQueueEntries``; one less commands can be outstanding.
    /// - Throws: `.invalidArgument` another number of entries; `.unsupported` there are no more queues, or no SGLs or
    ///   interrupts where the options ask for them; `.command`; `.connection`.
    public func makeQueuePair(entries: Int) throws(NVMeError) -> QueuePair {
        guard entries >= 2, entries <= maxQueueEntries else { throw .invalidArgument }
        guard !options.usesSGL || identity.takesSGLs else { throw .unsupported(.sgls) }
        guard let identifier = (1...UInt16(queueCount)).first(where: { !queues.contains($0) }) else {
            throw .unsupported(.queues)
        }
        let listener = options.usesInterrupts ? try makeListener(identifier) : nil
        let pair = try Self.makeQueuePair(
            identifier, entries: entries, maxTransfer: maxTransfer, usesSGL: options.usesSGL,
            listener: listener,
            client, space, capabilities, doorbells, options)
        do throws(NVMeError) {
            try admin.execute(
                .createCompletionQueue(
                    identifier, entries: entries, vector: listener == nil ? nil : identifier,
                    at: pair.completionAddress))
            do throws(NVMeError) {
                try admin.execute(
                    .createSubmissionQueue(identifier, entries: entries, at: pair.submissionAddress))
            } catch {
                _ = try? admin.execute(.deleteCompletionQueue(identifier))
                throw error
            }
        } catch {
            try? space.remove(pair.memory)
            throw error
        }
        queues.insert(identifier)
        return pair
    }

    /// Deletes a pair of I/O queues. Commands that are outstanding are aborted.
    ///
    /// - Throws: `.command`, `.connection`, `.timedOut`.
    public func delete(_ pair: consuming QueuePair) throws(NVMeError) {
        try admin.execute(.deleteSubmissionQueue(pair.identifier))
        try admin.execute(.deleteCompletionQueue(pair.identifier))
        try space.remove(pair.memory)
        queues.remove(pair.identifier)
    }

    /// Has the vector of the queue's number signalled.
    private func makeListener(_ identifier: UInt16) throws(NVMeError) -> InterruptListener {
        guard let msix, Int(identifier) < msix.vectors else { throw .unsupported(.interrupts) }
        return try connection { () throws(Errno) in
            let listener = try InterruptListener()
            try client.setInterrupts(.msix, start: UInt32(identifier), [listener])
            return listener
        }
    }

    static func makeQueuePair(
        _ identifier: UInt16, entries: Int, maxTransfer: Int, usesSGL: Bool, listener: InterruptListener?,
        _ client: Client, _ space: DMASpace, _ capabilities: ControllerCapabilities, _ area: MappedRegion?,
        _ options: DriverOptions
    ) throws(NVMeError) -> QueuePair {
        let rings = try Rings(space, entries: entries, maxTransfer: maxTransfer, usesSGL: usesSGL)
        let doorbells = QueueDoorbells(
            identifier, stride: capabilities.doorbellStride, client: client, area: area)
        let watch = Watch(
            client, listener: listener, timeout: options.timeout, isServing: options.sharing == .messages)
        // What was not acknowledged keeps an interrupt asserted, and the admin queue always has one.
        return QueuePair(
            identifier, rings, acknowledgesAtOnce: listener != nil || identifier == 0, doorbells, watch)
    }
}
