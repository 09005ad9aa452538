internal import VFIOUserSystem

/// A range of addresses, as large as a file, for mappings of its parts.
///
/// Each part has its own place there, so that neighbours in the file are neighbours in memory, which the kernel then
/// keeps as one mapping: the number of mappings a process may have (vm.max_map_count) is less than the number
/// of ranges a client may map. Nothing is reserved: where something else is, a part is mapped elsewhere.
struct FileRoom {
    /// Where the file's first byte would be.
    private let base: UInt
    /// Bytes; a multiple of the file's block.
    private let length: UInt64

    /// Addresses left free behind a room: other mappings are made there first, since the kernel begins at the top of
    /// the highest range of free addresses.
    private static let distance = 1 << 30
    /// What rooms are aligned to at least, so that parts can be mapped by huge pages.
    private static let alignment: UInt64 = 2 << 20
    private static let largest: UInt64 = 1 << 43

    /// Finds room for a file mapped in units of `block`, a power of two; nil if there is none.
    init?(_ status: FileStatus, block: UInt64) {
        guard let size = status.size, status.hasContents, size > 0, size <= FileRoom.largest,
            block <= FileRoom.largest
        else { return nil }
        let alignment = max(FileRoom.alignment, block)
        self.length = (size + block - 1) & ~(block - 1)
        // Each at most 2^43. What is found is given back at once.
        guard
            let free = try? MemoryMapping(reserving: Int(self.length + alignment) + FileRoom.distance),
            let start = unsafe free.base
        else { return nil }
        base = (UInt(bitPattern: start) + UInt(alignment) - 1) & ~(UInt(alignment) - 1)
    }

    /// The place of a part; 0 if it is not in the room.
    func place(_ offset: UInt64, _ count: UInt64) -> UInt {
        guard offset < length, count <= length - offset else { return 0 }
        // Less than the length, which fits behind the base.
        return base + UInt(offset)
    }
}
