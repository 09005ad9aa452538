internal import SystemPackage
internal import VFIOUserClient

/// Where a command's data is, as the controller is told: two PRPs, or an SGL descriptor.
struct DataPointer: BitwiseCopyable {
    var first: UInt64
    var second: UInt64 = 0

    /// Bytes of a memory page (CC.MPS).
    static let pageSize = 4096

    /// No data; the address, if any, is of something else.
    init(_ address: UInt64) { first = address }

    /// An SGL data block descriptor (NVMe 1.4, 4.4): the data lies together, however much it is.
    init(block address: UInt64, _ byteCount: Int) {
        first = address
        // Length in the low dword, type 0 in the last byte.
        second = UInt64(UInt32(truncatingIfNeeded: byteCount))
    }

    /// PRPs (NVMe 1.4, 4.3): the first may begin anywhere in its page; of more than two pages, the second points
    /// to a list of all but the first.
    ///
    /// - Parameters:
    ///   - byteCount: at least 1.
    ///   - list: where the list may be written.
    /// - Throws: `EINVAL` the list has no room for so many pages.
    @inline(__always)
    init(pages address: UInt64, _ byteCount: Int, _ list: borrowing PRPList, _ slot: Int) throws(Errno) {
        first = address
        let inFirst = Self.pageSize &- Int(address & 4095)
        guard byteCount > inFirst else { return }
        let next = (address & ~4095) &+ 4096
        if byteCount <= inFirst &+ Self.pageSize {
            second = next
        } else {
            second = try list.fill(slot, from: next, pages: (byteCount &- inFirst &+ 4095) >> 12)
        }
    }
}

/// Memory for the PRP lists of a queue's commands, one after the other: a list may cross from page to page, where
/// its last entry in a page leads to the next.
struct PRPList {
    private let entries: MappedRecords
    private let iova: UInt64
    /// Entries of one list, those that lead on included.
    private let room: Int

    private static let perPage = DataPointer.pageSize / 8

    /// Bytes of the lists for so many commands of so many bytes each.
    static func byteCount(commands: Int, transfer: Int) -> Int { commands * entryCount(transfer) * 8 }

    /// The data may begin at the end of a page, so that no page is whole; the first page is not in the list. One
    /// entry in each page leads on, and the list may begin in front of one.
    private static func entryCount(_ transfer: Int) -> Int {
        let pages = (transfer + DataPointer.pageSize - 1) / DataPointer.pageSize
        return pages + pages / (perPage - 1) + 1
    }

    /// - Parameter iova: of the memory's byte `offset`; a multiple of 8.
    init(
        _ memory: MappedMemory, at offset: Int, iova: UInt64, commands: Int, transfer: Int
    ) throws(Errno) {
        room = Self.entryCount(transfer)
        entries = try MappedRecords(memory, at: offset, count: commands * room, stride: 8)
        self.iova = iova
    }

    /// Writes a list of pages that lie together.
    ///
    /// - Returns: its IOVA.
    /// - Throws: `EINVAL` there is not enough room.
    func fill(_ slot: Int, from page: UInt64, pages: Int) throws(Errno) -> UInt64 {
        var place = slot &* room
        let end = place &+ room
        let start = iova &+ UInt64(truncatingIfNeeded: place &* 8)
        var left = pages
        var page = page
        while left > 0 {
            guard place < end else { throw .invalidArgument }
            let address = iova &+ UInt64(truncatingIfNeeded: place &* 8)
            if address & 4095 == 4088, left > 1 {
                // The last entry of its page, and more than one page is left.
                try entries.store(address &+ 8, at: place)
            } else {
                try entries.store(page, at: place)
                page &+= 4096
                left &-= 1
            }
            place &+= 1
        }
        return start
    }
}
