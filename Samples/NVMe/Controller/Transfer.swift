internal import Glibc
internal import Synchronization

/// A piece of memory that a store reads or writes.
typealias StoreVector = iovec

/// How a command's data can be moved.
enum DataReach {
    /// The slot's vectors name it.
    case direct
    /// All of it exists, but some can be had by copies only.
    case byCopies
    /// The device may not use some of it so.
    case unreachable
}

/// Moving data between client memory and the controller.
extension NVMeController {
    /// Copies client memory to `target`, which has room for `count` bytes.
    func copyIn(_ address: UInt64, to target: UnsafeMutableRawPointer, count: Int) -> Bool {
        let range = reach(address, count, writing: false)
        if range.count == count, let source = unsafe range.address {
            unsafe memcpy(target, source, count)
            atomicMemoryFence(ordering: .acquiring)
            return true
        }
        return unsafe host.read(address, into: target, count: count)
    }

    /// Finds the slot's ranges in this process, so that data can move directly. Nothing has been moved when some of
    /// them turn out not to be there.
    @inline(__always)
    func findData(_ slot: Int, writing: Bool) -> DataReach {
        let list = unsafe ranges + slot &* Limit.ranges
        let target = unsafe vectors + slot &* Limit.vectors
        let range = unsafe list.pointee
        // What is nearly always so: one range in one piece.
        if unsafe slots[slot].rangeCount == 1, !range.isDiscarded {
            let found = reach(range.address, Int(range.count), writing: writing)
            if found.count == Int(range.count), let address = unsafe found.address {
                unsafe target.pointee = StoreVector(iov_base: address, iov_len: found.count)
                unsafe slots[slot].vectorCount = 1
                return .direct
            }
        }
        return findPieces(slot, writing: writing)
    }

    @inline(never)
    private func findPieces(_ slot: Int, writing: Bool) -> DataReach {
        let list = unsafe ranges + slot &* Limit.ranges
        let target = unsafe vectors + slot &* Limit.vectors
        var used = 0
        var answer = DataReach.direct
        for index in unsafe 0..<slots[slot].rangeCount {
            if unsafe list[index].isDiscarded {
                answer = .byCopies
                continue
            }
            var address = unsafe list[index].address
            var left = unsafe Int(list[index].count)
            while left > 0 {
                let found = reach(address, left, writing: writing)
                guard found.count > 0 else { return .unreachable }
                if let place = unsafe found.address, used < Limit.vectors {
                    unsafe target[used] = StoreVector(iov_base: place, iov_len: found.count)
                    used += 1
                } else {
                    answer = .byCopies
                }
                left -= found.count
                // A window ends where addresses do.
                let (next, wraps) = address.addingReportingOverflow(UInt64(found.count))
                guard !wraps || left == 0 else { return .unreachable }
                address = next
            }
        }
        unsafe slots[slot].vectorCount = used
        return answer
    }

    /// Copies the slot's data, which ``findData(_:writing:)`` found, between `memory` and its vectors.
    @inline(__always)
    func copyVectors(_ slot: Int, _ memory: UnsafeMutableRawPointer, toClient: Bool) {
        let list = unsafe vectors + slot &* Limit.vectors
        let count = unsafe slots[slot].vectorCount
        var place = unsafe memory
        var index = 0
        while index < count {
            let vector = unsafe list[index]
            let length = unsafe vector.iov_len
            if let client = unsafe vector.iov_base {
                if toClient {
                    unsafe memcpy(client, place, length)
                } else {
                    unsafe memcpy(place, client, length)
                }
            }
            unsafe place += length
            index &+= 1
        }
        if toClient { markWritten(slot) }
    }

    /// Copies the slot's data between `memory` and the client, range by range, by address or however else the host can.
    func move(_ slot: Int, _ memory: UnsafeMutableRawPointer, toClient: Bool) -> Bool {
        let list = unsafe ranges + slot &* Limit.ranges
        var place = unsafe memory
        let resets = resetCount
        for index in unsafe 0..<slots[slot].rangeCount {
            let range = unsafe list[index]
            if !range.isDiscarded {
                var address = range.address
                var left = Int(range.count)
                while left > 0 {
                    let found = reach(address, left, writing: toClient)
                    guard found.count > 0 else { return false }
                    let part = unsafe place + (Int(range.count) - left)
                    if let client = unsafe found.address {
                        if toClient {
                            unsafe memcpy(client, part, found.count)
                            noteWritten(address, found.count)
                        } else {
                            unsafe memcpy(part, client, found.count)
                        }
                    } else {
                        let isMoved =
                            toClient
                            ? unsafe host.write(address, from: part, count: found.count)
                            : unsafe host.read(address, into: part, count: found.count)
                        guard isMoved, resets == resetCount else { return false }
                    }
                    address &+= UInt64(found.count)
                    left -= found.count
                }
            }
            unsafe place += Int(range.count)
        }
        return true
    }

    /// Memory of the slot's own for its data, and the one vector that names it.
    func makeBounce(_ slot: Int) -> UnsafeMutableRawPointer {
        let memory: UnsafeMutableRawPointer
        if let present = unsafe slots[slot].bounce {
            unsafe memory = unsafe present
        } else {
            unsafe memory = .allocate(byteCount: Limit.transfer, alignment: Limit.pageSize)
            unsafe memset(memory, 0, Limit.transfer)
            unsafe slots[slot].bounce = unsafe memory
        }
        let count = unsafe slots[slot].byteCount
        unsafe vectors[slot &* Limit.vectors] = StoreVector(iov_base: memory, iov_len: count)
        unsafe slots[slot].vectorCount = 1
        return unsafe memory
    }

    /// Tells the host what was written into client memory.
    @inline(__always)
    func markWritten(_ slot: Int) {
        guard isTracked else { return }
        let list = unsafe ranges + slot &* Limit.ranges
        for index in unsafe 0..<slots[slot].rangeCount {
            unsafe host.wrote(list[index].address, Int(list[index].count))
        }
    }

    /// Sends a data structure, or its first bytes, to the client and ends the command.
    ///
    /// - Returns: whether the client has it.
    @discardableResult
    func deliver(_ slot: Int, _ bytes: ArraySlice<UInt8>) -> Bool {
        let status = bytes.isEmpty ? .success : send(slot, bytes)
        complete(slot, status)
        return status.isSuccess
    }

    private func send(_ slot: Int, _ bytes: ArraySlice<UInt8>) -> Status {
        let status = collect(slot, bytes.count, toClient: true)
        guard status.isSuccess else { return status }
        guard findData(slot, writing: true) != .unreachable else { return .dataTransferError }
        // As many bytes as were collected, all of them the array's.
        let isSent = unsafe bytes.withUnsafeBytes { buffer in
            guard let source = buffer.baseAddress else { return false }
            return unsafe move(slot, UnsafeMutableRawPointer(mutating: source), toClient: true)
        }
        return isSent ? .success : .dataTransferError
    }
}
