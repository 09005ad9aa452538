/// Finding the client memory that a command's data pointer names: physical region pages (NVMe 1.4, 4.3), or
/// scatter-gather lists.
extension NVMeController {
    /// Puts the ranges of `count` bytes (at least 1, at most ``Limit/transfer``) of client memory into the slot.
    /// Neighbours become one range.
    ///
    /// - Parameter toClient: which way data is going to move.
    @inline(__always)
    func collect(_ slot: Int, _ count: Int, toClient: Bool) -> Status {
        let command = unsafe slots + slot
        unsafe command.pointee.byteCount = count
        unsafe command.pointee.rangeCount = 0
        guard unsafe !command.pointee.entry.usesSGL else {
            return collectSGL(slot, count, toClient: toClient)
        }
        let first = unsafe command.pointee.entry.prp1
        guard first & 3 == 0 else { return .invalidPRPOffset }
        let room = Limit.pageSize &- Int(truncatingIfNeeded: first & 0xfff)
        append(slot, first, min(count, room))
        return count <= room ? .success : collectSecond(slot, count - room)
    }

    /// What the first page has no room for: another page, or a list.
    private func collectSecond(_ slot: Int, _ count: Int) -> Status {
        let second = unsafe slots[slot].entry.prp2
        guard count <= Limit.pageSize else { return collectList(slot, at: second, count) }
        guard second & 0xfff == 0 else { return .invalidPRPOffset }
        append(slot, second, count)
        return .success
    }

    /// Follows a list of PRPs, and those it leads to: every one but the first fills its page with pointers, so that no
    /// chain is longer than the data it is for.
    private func collectList(_ slot: Int, at start: UInt64, _ count: Int) -> Status {
        guard start & 7 == 0 else { return .invalidPRPOffset }
        var list = start
        var left = count
        while true {
            let capacity = (Limit.pageSize - Int(list & 0xfff)) / 8
            let needed = (left + Limit.pageSize - 1) / Limit.pageSize
            let entries = min(capacity, needed)
            let resets = resetCount
            guard unsafe copyIn(list, to: listScratch, count: entries * 8), resets == resetCount else {
                return .dataTransferError
            }
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

    /// Adds a range to a slot.
    ///
    /// - Returns: whether there was room, which there is for each page of the largest transfer.
    @inline(__always)
    @discardableResult
    func append(_ slot: Int, _ address: UInt64, _ count: Int, isDiscarded: Bool = false) -> Bool {
        let used = unsafe slots[slot].rangeCount
        let list = unsafe ranges + slot &* Limit.ranges
        let count = UInt32(truncatingIfNeeded: count)
        if used > 0, !isDiscarded {
            let last = unsafe list[used &- 1]
            if !last.isDiscarded, last.address &+ UInt64(last.count) == address, address != 0 {
                unsafe list[used &- 1].count = last.count &+ count
                return true
            }
        }
        guard used < Limit.ranges else { return false }
        unsafe list[used] = MemoryRange(address: address, count: count, isDiscarded: isDiscarded)
        unsafe slots[slot].rangeCount = used &+ 1
        return true
    }
}
