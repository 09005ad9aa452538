internal import Glibc
internal import Synchronization

/// A piece of memory that a store reads or writes.
typealias StoreVector = iovec

/// Moving data between client memory and the controller.
extension NVMeController {
    /// Copies client memory to `target`, which has room for `count` bytes.
    func copyIn(_ address: UInt64, to target: UnsafeMutableRawPointer, count: Int) -> Bool {
        let range = unsafe host.direct(address, count, writing: false)
        if range.count == count, let source = unsafe range.address {
            unsafe memcpy(target, source, count)
            atomicMemoryFence(ordering: .acquiring)
            return true
        }
        return unsafe host.read(address, into: target, count: count)
    }

    /// Copies `count` bytes at `source` to client memory.
    func copyOut(_ source: UnsafeRawPointer, to address: UInt64, count: Int) -> Bool {
        let range = unsafe host.direct(address, count, writing: true)
        if range.count == count, let target = unsafe range.address {
            unsafe memcpy(target, source, count)
            unsafe host.wrote(address, count)
            return true
        }
        return unsafe host.write(address, from: source, count: count)
    }

    /// Finds the client memory that a command's PRPs name, `count` bytes (at most ``Limit/transfer``), and puts it
    /// into the slot's ranges (NVMe 1.4, 4.3). Neighbouring pages become one range.
    func collect(_ slot: Int, _ count: Int) -> Status {
        let command = unsafe slots + slot
        let first = unsafe command.pointee.entry.prp1
        let second = unsafe command.pointee.entry.prp2
        unsafe command.pointee.byteCount = count
        unsafe command.pointee.rangeCount = 0
        guard first & 3 == 0 else { return .invalidPRPOffset }
        let room = Limit.pageSize - Int(first & 0xfff)
        let head = min(count, room)
        append(slot, first, head)
        let rest = count - head
        if rest == 0 { return .success }
        if rest <= Limit.pageSize {
            guard second & 0xfff == 0 else { return .invalidPRPOffset }
            append(slot, second, rest)
            return .success
        }
        return collectList(slot, at: second, rest)
    }

    /// Follows a list of PRPs, and those it leads to: every one but the first fills its page with pointers.
    private func collectList(_ slot: Int, at start: UInt64, _ count: Int) -> Status {
        guard start & 7 == 0 else { return .invalidPRPOffset }
        var list = start
        var left = count
        while true {
            let capacity = (Limit.pageSize - Int(list & 0xfff)) / 8
            let needed = (left + Limit.pageSize - 1) / Limit.pageSize
            let entries = min(capacity, needed)
            guard unsafe copyIn(list, to: listScratch, count: entries * 8) else { return .dataTransferError }
            // The last one leads to the next list if there is more than this list can hold.
            let pages = needed > capacity ? entries - 1 : entries
            for place in 0..<pages {
                // Below 512 entries of a page.
                let address = unsafe listScratch.load(fromByteOffset: place * 8, as: UInt64.self)
                guard address & 0xfff == 0 else { return .invalidPRPOffset }
                let piece = min(left, Limit.pageSize)
                append(slot, address, piece)
                left -= piece
            }
            guard left > 0 else { return .success }
            list = unsafe listScratch.load(fromByteOffset: pages * 8, as: UInt64.self)
            guard list & 0xfff == 0 else { return .invalidPRPOffset }
        }
    }

    /// Adds a range to a slot; there is one for each page of the largest transfer.
    @inline(__always)
    private func append(_ slot: Int, _ address: UInt64, _ count: Int) {
        let used = unsafe slots[slot].rangeCount
        let list = unsafe ranges + slot &* Limit.ranges
        if used > 0 {
            let last = unsafe list[used &- 1]
            if last.address &+ UInt64(last.count) == address, address != 0 {
                unsafe list[used &- 1].count = last.count &+ count
                return
            }
        }
        guard used < Limit.ranges else { return }
        unsafe list[used] = MemoryRange(address: address, count: count)
        unsafe slots[slot].rangeCount = used &+ 1
    }

    /// Copies the slot's data between `memory` and the client, once, by address or however else the host can.
    func move(_ slot: Int, _ memory: UnsafeMutableRawPointer, toClient: Bool) -> Bool {
        let list = unsafe ranges + slot &* Limit.ranges
        var place = unsafe memory
        for index in unsafe 0..<slots[slot].rangeCount {
            var address = unsafe list[index].address
            var left = unsafe list[index].count
            while left > 0 {
                let range = unsafe host.direct(address, left, writing: toClient)
                guard range.count > 0 else { return false }
                let count = min(left, range.count)
                if let client = unsafe range.address {
                    if toClient {
                        unsafe memcpy(client, place, count)
                        unsafe host.wrote(address, count)
                    } else {
                        unsafe memcpy(place, client, count)
                    }
                } else if toClient {
                    guard unsafe host.write(address, from: place, count: count) else { return false }
                } else {
                    guard unsafe host.read(address, into: place, count: count) else { return false }
                }
                unsafe place += count
                address &+= UInt64(count)
                left -= count
            }
        }
        return true
    }

    /// Makes vectors of the slot's ranges, for a store to use client memory itself.
    ///
    /// - Returns: `false` if some of it cannot be reached by address.
    func makeVectors(_ slot: Int, writing: Bool) -> Bool {
        let list = unsafe ranges + slot &* Limit.ranges
        let target = unsafe vectors + slot &* Limit.vectors
        var used = 0
        for index in unsafe 0..<slots[slot].rangeCount {
            var address = unsafe list[index].address
            var left = unsafe list[index].count
            while left > 0 {
                let range = unsafe host.direct(address, left, writing: writing)
                guard range.count > 0, unsafe range.address != nil, used < Limit.vectors else { return false }
                let count = min(left, range.count)
                unsafe target[used] = StoreVector(iov_base: range.address, iov_len: count)
                used += 1
                address &+= UInt64(count)
                left -= count
            }
        }
        unsafe slots[slot].vectorCount = used
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

    /// Tells the host what a store wrote into client memory.
    func markWritten(_ slot: Int) {
        let list = unsafe ranges + slot &* Limit.ranges
        for index in unsafe 0..<slots[slot].rangeCount {
            unsafe host.wrote(list[index].address, list[index].count)
        }
    }

    /// Sends a data structure, or its first bytes, to the client and ends the command.
    func deliver(_ slot: Int, _ bytes: ArraySlice<UInt8>) {
        guard !bytes.isEmpty else { return complete(slot, .success) }
        let status = collect(slot, bytes.count)
        guard status.isSuccess else { return complete(slot, status) }
        // As many bytes as were collected, all of them the array's.
        let isSent = unsafe bytes.withUnsafeBytes { buffer in
            guard let source = buffer.baseAddress else { return false }
            return unsafe move(slot, UnsafeMutableRawPointer(mutating: source), toClient: true)
        }
        complete(slot, isSent ? .success : .dataTransferError)
    }
}
