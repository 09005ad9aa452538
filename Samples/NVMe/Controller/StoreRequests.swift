internal import SystemPackage

/// Giving work to stores.
extension NVMeController {
    private func request(
        _ slot: Int, _ operation: StoreRequest.Operation, _ offset: UInt64, _ byteCount: UInt64,
        vectors part: Range<Int>?
    ) -> StoreRequest {
        let isTransfer: Bool
        switch operation {
        case .read, .write: isTransfer = true
        default: isTransfer = false
        }
        let used = unsafe part ?? 0..<(isTransfer ? slots[slot].vectorCount : 0)
        let list = unsafe UnsafeMutableBufferPointer(
            start: vectors + slot &* Limit.vectors + used.lowerBound, count: used.count)
        return unsafe StoreRequest(
            operation, offset: offset, byteCount: byteCount, vectors: list,
            token: UInt32(truncatingIfNeeded: slot))
    }

    /// Begins a command's one request; the command ends when that does.
    func start(
        _ slot: Int, _ namespace: Int, _ operation: StoreRequest.Operation, _ offset: UInt64,
        _ byteCount: UInt64
    ) {
        issue(slot, namespace, operation, offset, byteCount)
        settle(slot)
    }

    /// Begins one of a command's requests. After the last comes ``settle(_:)``.
    ///
    /// - Parameter part: which of the slot's vectors it uses; `nil`: all of them.
    func issue(
        _ slot: Int, _ namespace: Int, _ operation: StoreRequest.Operation, _ offset: UInt64,
        _ byteCount: UInt64, vectors part: Range<Int>? = nil
    ) {
        let request = request(slot, operation, offset, byteCount, vectors: part)
        switch unsafe namespaces[namespace].store.start(request) {
        case .done: break
        case .failed(let error): unsafe slots[slot].status = status(of: error, slot)
        case .pending: unsafe slots[slot].pendingParts += 1
        }
    }

    /// All of a command's requests have begun: it ends now if none is pending, or else with the last of them.
    func settle(_ slot: Int) {
        guard unsafe slots[slot].pendingParts > 0 else { return end(slot) }
        unsafe slots[slot].isPending = true
        unsafe submissions[slots[slot].queue].pending += 1
        pendingSlots += 1
    }

    /// Carries one request out and waits for it.
    func carryOut(
        _ slot: Int, _ namespace: Int, _ operation: StoreRequest.Operation, _ offset: UInt64,
        _ byteCount: UInt64
    ) -> StoreAnswer {
        let request = request(slot, operation, offset, byteCount, vectors: nil)
        let answer = unsafe namespaces[namespace].store.start(request)
        guard answer == .pending else { return answer }
        // Others that are complete meanwhile end as usual; this one's token is nobody's.
        var outcome: StoreAnswer?
        let store = unsafe namespaces[namespace].store
        while outcome == nil {
            guard store.pendingCount > 0 else { return .failed(.ioError) }
            store.reap(wait: true) { [self] token, error in
                if token == request.token {
                    outcome = error.map { .failed($0) } ?? .done
                } else {
                    finished(token, error)
                }
            }
        }
        return outcome ?? .failed(.ioError)
    }

    /// The store's part of a command is over.
    func end(_ slot: Int) {
        let command = unsafe slots + slot
        switch unsafe command.pointee.ending {
        case .shutdown:
            if unsafe command.pointee.resetCount == resetCount { registers.shutdownStatus = 2 }
            return release(slot: slot)
        case .format: return endFormat(slot)
        case .emptyCache: return endEmptyCache(slot)
        case .none, .mark, .deliver, .compare, .flush, .tell, .again: break
        }
        var status = unsafe command.pointee.status
        // The memory may be another client's by now.
        if status.isSuccess, unsafe command.pointee.resetCount == resetCount {
            switch unsafe command.pointee.ending {
            case .shutdown, .format, .emptyCache, .tell, .again: break
            case .none:
                if unsafe command.pointee.entry.opcode == NVMOpcode.write.rawValue { countWritten(slot) }
            case .mark:
                markWritten(slot)
                countRead(slot)
            case .deliver:
                if let bounce = unsafe command.pointee.bounce, unsafe move(slot, bounce, toClient: true) {
                    countRead(slot)
                } else {
                    status = .dataTransferError
                }
            case .compare:
                if let bounce = unsafe command.pointee.bounce { status = unsafe compare(slot, with: bounce) }
            case .flush:
                unsafe command.pointee.ending = .none
                return start(slot, unsafe Int(command.pointee.entry.namespace) - 1, .flush, 0, 0)
            }
        }
        complete(slot, status)
    }

    /// What the client is told of a store's error.
    func status(of error: Errno, _ slot: Int) -> Status {
        // Not the store failed: the client's memory is gone, of which it has cut off a part.
        if error == .badAddress { return .dataTransferError }
        unsafe counters.pointee.mediaErrors &+= 1
        switch error {
        case .noSpace: return .capacityExceeded
        case .readOnlyFileSystem: return .writeProtected
        default: break
        }
        guard unsafe slots[slot].queue != 0 else { return .internalError }
        switch unsafe NVMOpcode(rawValue: slots[slot].entry.opcode) {
        case .write, .writeZeroes, .flush, .datasetManagement: return .writeFault
        case .read, .compare, .verify: return .unrecoveredReadError
        case nil: return .internalError
        }
    }
}
