internal import Glibc
internal import SystemPackage

/// The NVM command set (NVMe 1.4, 6).
extension NVMeController {
    /// Carries out a command of an I/O queue.
    func executeNVM(_ slot: Int) {
        let entry = unsafe slots[slot].entry
        unsafe counters.pointee.commands &+= 1
        guard !entry.usesUnsupportedFields else { return complete(slot, .invalidField) }
        guard let opcode = NVMOpcode(rawValue: entry.opcode) else { return complete(slot, .invalidOpcode) }
        if opcode == .flush, entry.namespace == everyNamespace { return flushAll(slot) }
        guard entry.namespace >= 1, entry.namespace <= UInt32(namespaceCount) else {
            return complete(slot, .invalidNamespace)
        }
        let namespace = Int(entry.namespace) - 1
        switch opcode {
        case .read: read(slot, namespace)
        case .write: write(slot, namespace)
        case .flush: start(slot, namespace, .flush, 0, 0)
        case .compare: compare(slot, namespace)
        case .writeZeroes: writeZeroes(slot, namespace)
        case .datasetManagement: manageDataset(slot, namespace)
        case .verify: verify(slot, namespace)
        }
    }

    // MARK: Blocks

    /// The bytes that a command names by its first block and number of blocks, and the memory for them.
    private func locate(_ slot: Int, _ namespace: Int) -> (Status, offset: UInt64, count: Int) {
        let entry = unsafe slots[slot].entry
        let blocks = UInt64(entry.dword12 & 0xffff) + 1
        let first = entry.firstBlock
        let shift = unsafe namespaces[namespace].blockShift
        let bytes = blocks << shift
        // MDTS comes first: 64 Ki blocks may be more than anything here is made for.
        guard bytes <= UInt64(Limit.transfer) else { return (.invalidField, 0, 0) }
        guard unsafe namespaces[namespace].contains(first, blocks) else { return (.outOfRange, 0, 0) }
        let count = Int(bytes)
        return (collect(slot, count), first << shift, count)
    }

    private func read(_ slot: Int, _ namespace: Int) {
        let (status, offset, count) = locate(slot, namespace)
        guard status.isSuccess else { return complete(slot, status) }
        unsafe counters.pointee.readCommands &+= 1
        unsafe counters.pointee.bytesRead &+= UInt64(count)
        if let memory = unsafe namespaces[namespace].memory {
            // Within the store: its blocks were found to exist.
            let isMoved = unsafe move(slot, memory + Int(offset), toClient: true)
            return complete(slot, isMoved ? .success : .dataTransferError)
        }
        if makeVectors(slot, writing: true) {
            unsafe slots[slot].isRead = true
        } else {
            _ = unsafe makeBounce(slot)
            unsafe slots[slot].ending = .deliver
        }
        start(slot, namespace, .read, offset, UInt64(count))
    }

    private func write(_ slot: Int, _ namespace: Int) {
        guard unsafe !namespaces[namespace].isReadOnly else { return complete(slot, .writeProtected) }
        // Directives (streams) are not offered.
        guard unsafe slots[slot].entry.dword12 >> 20 & 0xf == 0 else { return complete(slot, .invalidField) }
        let (status, offset, count) = locate(slot, namespace)
        guard status.isSuccess else { return complete(slot, status) }
        unsafe counters.pointee.writeCommands &+= 1
        unsafe counters.pointee.bytesWritten &+= UInt64(count)
        if let memory = unsafe namespaces[namespace].memory {
            let isMoved = unsafe move(slot, memory + Int(offset), toClient: false)
            return complete(slot, isMoved ? .success : .dataTransferError)
        }
        unsafe slots[slot].isRead = false
        if !makeVectors(slot, writing: false) {
            let bounce = unsafe makeBounce(slot)
            guard unsafe move(slot, bounce, toClient: false) else {
                return complete(slot, .dataTransferError)
            }
        }
        // Force Unit Access, or a cache that is switched off.
        let isDurable = unsafe slots[slot].entry.dword12 >> 30 & 1 == 1 || !features.hasWriteCache
        start(slot, namespace, .write(isDurable: isDurable), offset, UInt64(count))
    }

    private func compare(_ slot: Int, _ namespace: Int) {
        let (status, offset, count) = locate(slot, namespace)
        guard status.isSuccess else { return complete(slot, status) }
        unsafe counters.pointee.readCommands &+= 1
        if let memory = unsafe namespaces[namespace].memory {
            return complete(slot, unsafe compare(slot, with: memory + Int(offset)))
        }
        _ = unsafe makeBounce(slot)
        unsafe slots[slot].ending = .compare
        start(slot, namespace, .read, offset, UInt64(count))
    }

    /// Compares the client's data with `memory`, a page at a time.
    func compare(_ slot: Int, with memory: UnsafeMutableRawPointer) -> Status {
        let list = unsafe ranges + slot &* Limit.ranges
        var place = unsafe memory
        for index in unsafe 0..<slots[slot].rangeCount {
            var address = unsafe list[index].address
            var left = unsafe list[index].count
            while left > 0 {
                let count = min(left, Limit.pageSize)
                guard unsafe copyIn(address, to: scratch, count: count) else { return .dataTransferError }
                guard unsafe memcmp(scratch, place, count) == 0 else { return .compareFailure }
                unsafe place += count
                address &+= UInt64(count)
                left -= count
            }
        }
        return .success
    }

    /// Reads and forgets: what the store cannot read it says.
    private func verify(_ slot: Int, _ namespace: Int) {
        let entry = unsafe slots[slot].entry
        let blocks = UInt64(entry.dword12 & 0xffff) + 1
        guard unsafe namespaces[namespace].contains(entry.firstBlock, blocks) else {
            return complete(slot, .outOfRange)
        }
        guard unsafe namespaces[namespace].memory == nil else { return complete(slot, .success) }
        // A command without data may name more than the largest transfer: what fits is read, piece by piece.
        let shift = unsafe namespaces[namespace].blockShift
        unsafe slots[slot].byteCount = min(Int(blocks << shift), Limit.transfer)
        _ = unsafe makeBounce(slot)
        var offset = entry.firstBlock << shift
        let end = offset + blocks << shift
        while offset < end {
            let count = min(end - offset, UInt64(Limit.transfer))
            unsafe vectors[slot &* Limit.vectors].iov_len = Int(count)
            let answer = carryOut(slot, namespace, .read, offset, count)
            if case .failed(let error) = answer { return complete(slot, self.status(of: error, slot)) }
            offset += count
        }
        complete(slot, .success)
    }

    // MARK: Ranges without data

    private func writeZeroes(_ slot: Int, _ namespace: Int) {
        guard unsafe !namespaces[namespace].isReadOnly else { return complete(slot, .writeProtected) }
        let entry = unsafe slots[slot].entry
        let blocks = UInt64(entry.dword12 & 0xffff) + 1
        guard unsafe namespaces[namespace].contains(entry.firstBlock, blocks) else {
            return complete(slot, .outOfRange)
        }
        let shift = unsafe namespaces[namespace].blockShift
        let mayDeallocate = entry.dword12 >> 25 & 1 == 1
        start(
            slot, namespace, .writeZeroes(mayDeallocate: mayDeallocate), entry.firstBlock << shift,
            blocks << shift)
    }

    /// Up to 256 ranges; only deallocation is more than a hint. All are checked before any is touched.
    private func manageDataset(_ slot: Int, _ namespace: Int) {
        let entry = unsafe slots[slot].entry
        let count = Int(entry.dword10 & 0xff) + 1
        let status = collect(slot, count * 16)
        guard status.isSuccess else { return complete(slot, status) }
        guard unsafe move(slot, scratch, toClient: false) else { return complete(slot, .dataTransferError) }
        guard entry.dword11 & 4 != 0 else { return complete(slot, .success) }
        guard unsafe !namespaces[namespace].isReadOnly else { return complete(slot, .writeProtected) }
        // Requests that are carried out meanwhile use the same page: a copy.
        let list = unsafe [DatasetRange](
            UnsafeRawBufferPointer(start: scratch, count: count * 16).assumingMemoryBound(
                to: DatasetRange.self))
        for range in list {
            guard unsafe namespaces[namespace].contains(range.first, UInt64(range.count)) else {
                return complete(slot, .outOfRange)
            }
        }
        let shift = unsafe namespaces[namespace].blockShift
        for range in list where range.count > 0 {
            let answer = carryOut(
                slot, namespace, .deallocate, range.first << shift, UInt64(range.count) << shift)
            if case .failed(let error) = answer { return complete(slot, self.status(of: error, slot)) }
        }
        complete(slot, .success)
    }

    private func flushAll(_ slot: Int) {
        var status = Status.success
        for place in 0..<namespaceCount {
            if case .failed(let error) = carryOut(slot, place, .flush, 0, 0) {
                status = self.status(of: error, slot)
            }
        }
        complete(slot, status)
    }

    /// Makes what was written to a namespace durable, now.
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
