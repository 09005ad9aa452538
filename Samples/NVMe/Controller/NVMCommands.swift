internal import Glibc
internal import SystemPackage

/// The NVM command set (NVMe 1.4, 6).
extension NVMeController {
    /// Carries out a command of an I/O queue.
    func executeNVM(_ slot: Int) {
        let command = unsafe slots + slot
        unsafe counters.pointee.commands &+= 1
        guard unsafe !command.pointee.entry.isFused, unsafe !command.pointee.entry.usesReservedPointer else {
            return complete(slot, .invalidField)
        }
        guard let opcode = unsafe NVMOpcode(rawValue: command.pointee.entry.opcode) else {
            return complete(slot, .invalidOpcode)
        }
        let identifier = unsafe command.pointee.entry.namespace
        if opcode == .flush, identifier == everyNamespace { return flushAll(slot) }
        // 0 wraps to more than there can be.
        let namespace = Int(truncatingIfNeeded: identifier &- 1)
        guard namespace < namespaceCount else { return complete(slot, .invalidNamespace) }
        switch opcode {
        case .read: read(slot, namespace)
        case .write: write(slot, namespace)
        case .flush: flush(slot, namespace)
        case .compare: compare(slot, namespace)
        case .writeZeroes: writeZeroes(slot, namespace)
        case .datasetManagement: manageDataset(slot, namespace)
        case .verify: verify(slot, namespace)
        }
    }

    // MARK: Blocks

    /// Finds the bytes that a command names by its first block and number of blocks, and the memory for them.
    ///
    /// - Returns: where in the store; how many bytes is in the slot.
    @inline(__always)
    private func locate(
        _ slot: Int, _ namespace: Int, toClient: Bool, _ offset: inout UInt64
    ) -> Status {
        let command = unsafe slots + slot
        let blocks = unsafe UInt64(command.pointee.entry.dword12 & 0xffff) &+ 1
        let first = unsafe command.pointee.entry.firstBlock
        let shift = unsafe namespaces[namespace].blockShift
        let bytes = blocks &<< shift
        // MDTS comes first: 64 Ki blocks may be more than anything here is made for.
        guard bytes <= UInt64(Limit.transfer) else { return .invalidField }
        guard unsafe namespaces[namespace].contains(first, blocks) else { return refusal(namespace) }
        offset = first &<< shift
        return collect(slot, Int(truncatingIfNeeded: bytes), toClient: toClient)
    }

    /// Why blocks of a namespace were not found.
    @inline(never)
    private func refusal(_ namespace: Int) -> Status {
        unsafe namespaces[namespace].isFormatting ? .formatInProgress : .outOfRange
    }

    private func read(_ slot: Int, _ namespace: Int) {
        var offset: UInt64 = 0
        let status = locate(slot, namespace, toClient: true, &offset)
        guard status.isSuccess else { return complete(slot, status) }
        let reach = findData(slot, writing: true)
        guard reach != .unreachable else { return complete(slot, .dataTransferError) }
        if let memory = unsafe namespaces[namespace].memory {
            // Within the store: its blocks were found to exist.
            let source = unsafe memory + Int(truncatingIfNeeded: offset)
            if reach == .direct {
                unsafe copyVectors(slot, source, toClient: true)
            } else if unsafe !move(slot, source, toClient: true) {
                return complete(slot, .dataTransferError)
            }
            countRead(slot)
            return complete(slot, .success)
        }
        if reach == .direct {
            unsafe slots[slot].ending = .mark
        } else {
            _ = unsafe makeBounce(slot)
            unsafe slots[slot].ending = .deliver
        }
        start(slot, namespace, .read, offset, unsafe UInt64(slots[slot].byteCount))
    }

    private func write(_ slot: Int, _ namespace: Int) {
        guard unsafe !namespaces[namespace].isReadOnly else { return complete(slot, .writeProtected) }
        // Directives (streams) are not offered.
        guard unsafe slots[slot].entry.dword12 & 0xf0_0000 == 0 else { return complete(slot, .invalidField) }
        var offset: UInt64 = 0
        let status = locate(slot, namespace, toClient: false, &offset)
        guard status.isSuccess else { return complete(slot, status) }
        let reach = findData(slot, writing: false)
        guard reach != .unreachable else { return complete(slot, .dataTransferError) }
        if let memory = unsafe namespaces[namespace].memory {
            let target = unsafe memory + Int(truncatingIfNeeded: offset)
            if reach == .direct {
                unsafe copyVectors(slot, target, toClient: false)
            } else if unsafe !move(slot, target, toClient: false) {
                return complete(slot, .dataTransferError)
            }
            countWritten(slot)
            return complete(slot, .success)
        }
        if reach != .direct {
            let bounce = unsafe makeBounce(slot)
            guard unsafe move(slot, bounce, toClient: false) else {
                return complete(slot, .dataTransferError)
            }
        }
        let isDurable = mustBeDurable(slot)
        start(
            slot, namespace, .write(isDurable: isDurable), offset, unsafe UInt64(slots[slot].byteCount))
    }

    /// Force Unit Access, or a cache that is switched off.
    private func mustBeDurable(_ slot: Int) -> Bool {
        unsafe slots[slot].entry.dword12 >> 30 & 1 == 1 || !features.hasWriteCache
    }

    private func compare(_ slot: Int, _ namespace: Int) {
        var offset: UInt64 = 0
        let status = locate(slot, namespace, toClient: false, &offset)
        guard status.isSuccess else { return complete(slot, status) }
        guard findData(slot, writing: false) != .unreachable else {
            return complete(slot, .dataTransferError)
        }
        if let memory = unsafe namespaces[namespace].memory {
            return complete(slot, unsafe compare(slot, with: memory + Int(truncatingIfNeeded: offset)))
        }
        _ = unsafe makeBounce(slot)
        unsafe slots[slot].ending = .compare
        start(slot, namespace, .read, offset, unsafe UInt64(slots[slot].byteCount))
    }

    /// Compares the client's data with `memory`, a page at a time.
    func compare(_ slot: Int, with memory: UnsafeMutableRawPointer) -> Status {
        let list = unsafe ranges + slot &* Limit.ranges
        var place = unsafe memory
        let resets = resetCount
        for index in unsafe 0..<slots[slot].rangeCount {
            var address = unsafe list[index].address
            var left = unsafe Int(list[index].count)
            while left > 0 {
                let count = min(left, Limit.pageSize)
                guard unsafe copyIn(address, to: scratch, count: count), resets == resetCount else {
                    return .dataTransferError
                }
                guard unsafe memcmp(scratch, place, count) == 0 else { return .compareFailure }
                unsafe place += count
                address &+= UInt64(count)
                left -= count
            }
        }
        countRead(slot)
        return .success
    }

    /// Data Units and Host Commands of the SMART log: Read and Compare.
    @inline(__always)
    func countRead(_ slot: Int) {
        unsafe counters.pointee.readCommands &+= 1
        unsafe counters.pointee.bytesRead &+= UInt64(truncatingIfNeeded: slots[slot].byteCount)
    }

    @inline(__always)
    func countWritten(_ slot: Int) {
        unsafe counters.pointee.writeCommands &+= 1
        unsafe counters.pointee.bytesWritten &+= UInt64(truncatingIfNeeded: slots[slot].byteCount)
    }

    // MARK: Commands without data

    /// The blocks of a command that moves none, in bytes of the store; `nil` if some are not found.
    private func locate(_ slot: Int, _ namespace: Int) -> Range<UInt64>? {
        let entry = unsafe slots[slot].entry
        let blocks = UInt64(entry.dword12 & 0xffff) + 1
        guard unsafe namespaces[namespace].contains(entry.firstBlock, blocks) else { return nil }
        let shift = unsafe namespaces[namespace].blockShift
        return entry.firstBlock << shift..<(entry.firstBlock + blocks) << shift
    }

    /// Reads and forgets: what the store cannot read it says. More than the largest transfer is several requests.
    private func verify(_ slot: Int, _ namespace: Int) {
        guard let range = locate(slot, namespace) else { return complete(slot, refusal(namespace)) }
        guard unsafe namespaces[namespace].memory == nil else { return complete(slot, .success) }
        unsafe slots[slot].byteCount = Int(min(range.upperBound - range.lowerBound, UInt64(Limit.transfer)))
        let bounce = unsafe makeBounce(slot)
        let list = unsafe vectors + slot &* Limit.vectors
        var part = 0
        var offset = range.lowerBound
        while offset < range.upperBound {
            let count = min(range.upperBound - offset, UInt64(Limit.transfer))
            // 64 Ki blocks of 4 KiB are 256 parts; each needs its vector until it is done.
            unsafe list[part] = StoreVector(iov_base: bounce, iov_len: Int(count))
            issue(slot, namespace, .read, offset, count, vectors: part..<part + 1)
            part += 1
            offset += count
        }
        settle(slot)
    }

    private func writeZeroes(_ slot: Int, _ namespace: Int) {
        guard unsafe !namespaces[namespace].isReadOnly else { return complete(slot, .writeProtected) }
        guard let range = locate(slot, namespace) else { return complete(slot, refusal(namespace)) }
        let mayDeallocate = unsafe slots[slot].entry.dword12 >> 25 & 1 == 1
        if unsafe namespaces[namespace].isVolatile, mustBeDurable(slot) {
            unsafe slots[slot].ending = .flush
        }
        start(
            slot, namespace, .writeZeroes(mayDeallocate: mayDeallocate), range.lowerBound,
            range.upperBound - range.lowerBound)
    }

    /// Up to 256 ranges; only deallocation is more than a hint. All are checked before any is touched.
    private func manageDataset(_ slot: Int, _ namespace: Int) {
        let entry = unsafe slots[slot].entry
        let count = Int(entry.dword10 & 0xff) + 1
        let status = collect(slot, count * MemoryLayout<DatasetRange>.size, toClient: false)
        guard status.isSuccess else { return complete(slot, status) }
        // 256 entries of 16 bytes are a page.
        guard findData(slot, writing: false) != .unreachable, unsafe move(slot, scratch, toClient: false)
        else {
            return complete(slot, .dataTransferError)
        }
        guard entry.dword11 & 4 != 0 else { return complete(slot, .success) }
        guard unsafe !namespaces[namespace].isReadOnly else { return complete(slot, .writeProtected) }
        let list = unsafe scratch.assumingMemoryBound(to: DatasetRange.self)
        for place in 0..<count {
            guard unsafe namespaces[namespace].contains(list[place].first, UInt64(list[place].count)) else {
                return complete(slot, refusal(namespace))
            }
        }
        let shift = unsafe namespaces[namespace].blockShift
        for place in 0..<count {
            let range = unsafe list[place]
            guard range.count > 0 else { continue }
            issue(slot, namespace, .deallocate, range.first << shift, UInt64(range.count) << shift)
        }
        settle(slot)
    }

    private func flush(_ slot: Int, _ namespace: Int) {
        guard unsafe !namespaces[namespace].isFormatting else { return complete(slot, .formatInProgress) }
        start(slot, namespace, .flush, 0, 0)
    }

    private func flushAll(_ slot: Int) {
        guard formatting == nil else { return complete(slot, .formatInProgress) }
        for place in 0..<namespaceCount { issue(slot, place, .flush, 0, 0) }
        settle(slot)
    }

    /// Makes what was written to a namespace durable, and waits for that.
    func flush(namespace: Int) -> StoreAnswer {
        guard let slot = takeSlot() else { return .failed(.resourceTemporarilyUnavailable) }
        defer { release(slot: slot) }
        return carryOut(slot, namespace, .flush, 0, 0)
    }
}

/// An entry of a Dataset Management command's list.
private struct DatasetRange: BitwiseCopyable {
    let attributes: UInt32
    let count: UInt32
    let first: UInt64
}
