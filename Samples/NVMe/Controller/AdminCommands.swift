internal import Synchronization

/// The admin command set (NVMe 1.4, 5).
extension NVMeController {
    /// Carries out a command of the admin queue.
    @inline(never)
    func executeAdmin(_ slot: Int) {
        let entry = unsafe slots[slot].entry
        guard !entry.isFused, !entry.usesSGL else { return complete(slot, .invalidField) }
        switch AdminOpcode(rawValue: entry.opcode) {
        case .deleteSubmissionQueue: deleteSubmissionQueue(slot, entry)
        case .createSubmissionQueue: complete(slot, createSubmissionQueue(entry))
        case .deleteCompletionQueue: complete(slot, deleteCompletionQueue(entry))
        case .createCompletionQueue: complete(slot, createCompletionQueue(entry))
        case .identify: identify(slot, entry)
        case .getLogPage: getLogPage(slot, entry)
        case .setFeatures: setFeature(slot, entry)
        case .getFeatures: getFeature(slot, entry)
        case .abort: abort(slot, entry)
        case .asyncEventRequest: requestEvent(slot, entry)
        case .doorbellBufferConfig: complete(slot, configureShadowDoorbells(entry))
        case .formatNVM: format(slot, entry)
        case nil: complete(slot, .invalidOpcode)
        }
    }

    /// Abort: what can be waiting on the admin queue are requests for events. Commands that a store has pending
    /// cannot be taken back.
    private func abort(_ slot: Int, _ entry: SubmissionEntry) {
        let queue = Int(entry.dword10 & 0xffff)
        let identifier = UInt16(truncatingIfNeeded: entry.dword10 >> 16)
        guard queue < queueCount, unsafe submissions[queue].isActive else {
            return complete(slot, .invalidField)
        }
        guard queue == 0, let place = events.requests.firstIndex(of: identifier),
            unsafe completions[0].room > 0
        else { return complete(slot, .success, result: 1) }
        guard canPost(to: 0) else { return putOff(slot, .dataTransferError, 0) }
        events.requests.remove(at: place)
        unsafe completions[0].room &-= 1
        post(0, identifier, .abortRequested, 0)
        complete(slot, .success, result: 0)
    }

    // MARK: Queues

    func activateCompletionQueue(
        _ identifier: Int, at address: UInt64, size: UInt32, vector: UInt16, interrupts: Bool
    ) {
        var queue = CompletionQueue()
        queue.isActive = true
        queue.address = address
        queue.size = size
        queue.room = size - 1
        queue.vector = vector
        queue.interrupts = interrupts
        unsafe doorbells[2 * identifier + 1].store(0, ordering: .relaxed)
        if identifier != 0 { clearShadow(2 * identifier + 1) }
        unsafe completions[identifier] = queue
    }

    func activateSubmissionQueue(_ identifier: Int, at address: UInt64, size: UInt32, completions: Int) {
        var queue = SubmissionQueue()
        queue.isActive = true
        queue.address = address
        queue.size = size
        queue.completions = completions
        unsafe doorbells[2 * identifier].store(0, ordering: .relaxed)
        if identifier != 0 { clearShadow(2 * identifier) }
        unsafe submissions[identifier] = queue
        unsafe self.completions[completions].users += 1
        unsafe active[activeCount] = UInt16(truncatingIfNeeded: identifier)
        activeCount += 1
    }

    /// What both Create commands have in common: identifier, size, contiguous memory, a page.
    private func checkCreation(_ entry: SubmissionEntry, exists: (Int) -> Bool) -> Status {
        let identifier = Int(entry.dword10 & 0xffff)
        let size = Int(entry.dword10 >> 16) + 1
        guard identifier >= 1, identifier < queueCount, !exists(identifier) else {
            return .invalidQueueIdentifier
        }
        guard size >= 2, size <= configuration.maxQueueEntries else { return .invalidQueueSize }
        // CAP.CQR.
        guard entry.dword11 & 1 == 1 else { return .invalidField }
        guard entry.prp1 & 0xfff == 0 else { return .invalidPRPOffset }
        return .success
    }

    private func createCompletionQueue(_ entry: SubmissionEntry) -> Status {
        let status = checkCreation(entry) { unsafe completions[$0].isActive }
        guard status.isSuccess else { return status }
        // CC.IOCQES: 16 bytes.
        guard registers.configuration >> 20 & 0xf == 4 else { return .invalidQueueSize }
        let vector = entry.dword11 >> 16
        guard vector < UInt32(configuration.vectors) else { return .invalidInterruptVector }
        activateCompletionQueue(
            Int(entry.dword10 & 0xffff), at: entry.prp1, size: entry.dword10 >> 16 + 1,
            vector: UInt16(truncatingIfNeeded: vector), interrupts: entry.dword11 & 2 != 0)
        return .success
    }

    private func createSubmissionQueue(_ entry: SubmissionEntry) -> Status {
        let status = checkCreation(entry) { unsafe submissions[$0].isActive }
        guard status.isSuccess else { return status }
        // CC.IOSQES: 64 bytes.
        guard registers.configuration >> 16 & 0xf == 6 else { return .invalidQueueSize }
        let completion = Int(entry.dword11 >> 16)
        guard completion >= 1, completion < queueCount else { return .invalidQueueIdentifier }
        guard unsafe completions[completion].isActive else { return .invalidCompletionQueue }
        activateSubmissionQueue(
            Int(entry.dword10 & 0xffff), at: entry.prp1, size: entry.dword10 >> 16 + 1,
            completions: completion)
        return .success
    }

    /// What is under way ends first, so that no completion comes after this command's.
    private func deleteSubmissionQueue(_ slot: Int, _ entry: SubmissionEntry) {
        let identifier = Int(entry.dword10 & 0xffff)
        guard identifier >= 1, identifier < queueCount, unsafe submissions[identifier].isActive,
            unsafe submissions[identifier].deletion == nil
        else { return complete(slot, .invalidQueueIdentifier) }
        if let place = (0..<activeCount).first(where: { unsafe Int(active[$0]) == identifier }) {
            activeCount -= 1
            // In its place comes the last one: each is still served once.
            unsafe active[place] = active[activeCount]
        }
        guard unsafe submissions[identifier].pending == 0 else {
            unsafe submissions[identifier].deletion = slot
            return
        }
        removeSubmissionQueue(identifier)
        complete(slot, .success)
    }

    func removeSubmissionQueue(_ identifier: Int) {
        unsafe completions[submissions[identifier].completions].users -= 1
        unsafe submissions[identifier] = SubmissionQueue()
    }

    private func deleteCompletionQueue(_ entry: SubmissionEntry) -> Status {
        let identifier = Int(entry.dword10 & 0xffff)
        guard identifier >= 1, identifier < queueCount, unsafe completions[identifier].isActive else {
            return .invalidQueueIdentifier
        }
        guard unsafe completions[identifier].users == 0 else { return .invalidQueueDeletion }
        unsafe completions[identifier] = CompletionQueue()
        return .success
    }
}
