public import Synchronization
public import SystemPackage

/// Looks addresses up in the attached IOAS: what a device's DMA goes through.
///
/// A translator is a pointer; copies are free. It is good for as long as the table it came from, so whoever
/// hands it out keeps the table. Any number of threads may use it, as long as nothing maps, unmaps, attaches
/// or detaches meanwhile: that is what quiescing a device is for. No call here allocates memory, takes a lock
/// or counts a reference.
@safe
@frozen
@usableFromInline
package struct Translator: @unchecked Sendable {
    @usableFromInline let state: UnsafeMutablePointer<TranslationState>

    init(_ state: UnsafeMutablePointer<TranslationState>) { unsafe self.state = unsafe state }

    /// Splits the range of `length` bytes at `address` at the borders of mappings.
    ///
    /// Returns the number of entries, 0 for a length of 0. If it takes more than `capacity` entries, returns
    /// -(entries needed) - 1; the first `capacity` are then filled in. Throws `ENOENT` if a byte is in no
    /// mapping or the range wraps round, `EACCES` if an entry that would be filled in lies in a mapping
    /// without the rights asked for, whichever comes first by address; `EINVAL` if there is a capacity and no list.
    ///
    /// `entries` must have room for `capacity` entries.
    @inlinable
    @unsafe
    package func translate(
        _ address: UInt64, _ length: UInt64, _ rights: AccessRights,
        into entries: UnsafeMutablePointer<SGEntry>?, capacity: Int
    ) throws(Errno) -> Int {
        if unsafe translateByHint(address, length, rights, into: entries, capacity: capacity) { return 1 }
        return try unsafe translateByTree(address, length, rights, into: entries, capacity: capacity)
    }

    /// Whether the range lies in the mapping found last; it is then `translate`'s one entry. Nothing else is said of it.
    @inlinable
    @inline(__always)
    @unsafe
    package func translateByHint(
        _ address: UInt64, _ length: UInt64, _ rights: AccessRights,
        into entries: UnsafeMutablePointer<SGEntry>?, capacity: Int
    ) -> Bool {
        let slot = unsafe state.pointee.hint.load(ordering: .relaxed)
        let record = unsafe state.pointee.records + Int(slot)
        let offset = unsafe address &- record.pointee.iova
        let size = unsafe record.pointee.length
        // length - 1 below what is left: 1 or more, and inside. An unused record has no room, a hidden one no
        // rights.
        guard offset < size, length &- 1 < size &- offset,
            unsafe record.pointee.denied & (rights.rawValue | AccessRights.hidden) == 0,
            capacity > 0, let entry = unsafe entries
        else { return false }
        unsafe fill(entry, slot, record, offset, length, rights)
        return true
    }

    @inlinable
    @inline(__always)
    func fill(
        _ entry: UnsafeMutablePointer<SGEntry>, _ slot: UInt32, _ record: UnsafeMutablePointer<MappingRecord>,
        _ offset: UInt64, _ length: UInt64, _ rights: AccessRights
    ) {
        let generation = unsafe UInt64(record.pointee.generation)
        unsafe entry.pointee.base = record.pointee.iova
        unsafe entry.pointee.reference = generation &<< 32 | UInt64(slot &+ 1)
        unsafe entry.pointee.length = length
        unsafe entry.pointee.offset = offset
        unsafe entry.pointee.writeable = UInt64(rights.rawValue &>> 1 & 1)
    }

    /// `translate` without a look at the mapping found last.
    @usableFromInline
    @inline(never)
    @unsafe
    package func translateByTree(
        _ address: UInt64, _ length: UInt64, _ rights: AccessRights,
        into entries: UnsafeMutablePointer<SGEntry>?, capacity: Int
    ) throws(Errno) -> Int {
        if length == 0 { return 0 }
        if address.addingReportingOverflow(length &- 1).overflow { throw .noSuchFileOrDirectory }
        let root = unsafe state.pointee.root
        guard var place = unsafe TreePosition(root: root, height: state.pointee.height, floor: address) else {
            throw .noSuchFileOrDirectory
        }
        var next = address
        var left = length
        var needed = 0
        while true {
            let slot = unsafe place.slot
            let record = unsafe state.pointee.records + Int(slot)
            // Below the start this wraps to more than any length that fits there.
            let offset = unsafe next &- record.pointee.iova
            guard unsafe next >= record.pointee.iova, unsafe offset < record.pointee.length else {
                throw .noSuchFileOrDirectory
            }
            let piece = unsafe min(left, record.pointee.length &- offset)
            if needed < capacity {
                guard let entries = unsafe entries else { throw .invalidArgument }
                if unsafe record.pointee.denied & rights.rawValue != 0 { throw .permissionDenied }
                unsafe fill(entries + needed, slot, record, offset, piece, rights)
                if needed == 0, unsafe state.pointee.hint.load(ordering: .relaxed) != slot {
                    unsafe state.pointee.hint.store(slot, ordering: .relaxed)
                }
            }
            needed &+= 1
            left &-= piece
            if left == 0 { break }
            next &+= piece
            guard let following = unsafe place.next else { throw .noSuchFileOrDirectory }
            unsafe place = following
        }
        return needed > capacity ? -needed &- 1 : needed
    }

    /// The record an entry refers to; nil if the entry is null or stale.
    @inlinable
    @inline(__always)
    func record(of entry: SGEntry) -> UnsafeMutablePointer<MappingRecord>? {
        unsafe record(of: entry.reference, entry.offset, entry.length)
    }

    /// The same of an entry's fields.
    @inlinable
    @inline(__always)
    func record(
        of reference: UInt64, _ offset: UInt64, _ length: UInt64
    ) -> UnsafeMutablePointer<MappingRecord>? {
        let slot = UInt32(truncatingIfNeeded: reference) &- 1
        guard unsafe slot < state.pointee.capacity else { return nil }
        let record = unsafe state.pointee.records + Int(slot)
        guard unsafe record.pointee.generation == UInt32(truncatingIfNeeded: reference &>> 32) else {
            return nil
        }
        // The entry is the program's memory: it may not reach further than its mapping, whatever it says.
        let size = unsafe record.pointee.length
        guard offset < size, length <= size &- offset else { return nil }
        return unsafe record
    }

    /// The local address of an entry's first byte, of `entry.length`.
    ///
    /// Throws `EINVAL` if the entry is null or stale, `EFAULT` if its mapping is not mapped into this
    /// process.
    @inlinable
    @inline(__always)
    @unsafe
    package func localAddress(of entry: SGEntry) throws(Errno) -> UnsafeMutableRawPointer {
        guard let address = unsafe addressIfMapped(entry) else {
            throw unsafe record(of: entry) == nil ? .invalidArgument : .badAddress
        }
        return unsafe address
    }

    /// The same; nil where `localAddress` throws.
    @inlinable
    @inline(__always)
    @unsafe
    package func addressIfMapped(_ entry: SGEntry) -> UnsafeMutableRawPointer? {
        guard let record = unsafe record(of: entry), let base = unsafe record.pointee.address else {
            return nil
        }
        // Inside the mapping, as record(of:) found.
        return unsafe base + Int(truncatingIfNeeded: entry.offset)
    }

    /// Whether `localAddress` has an answer.
    @inlinable
    @inline(__always)
    package func isMappable(_ entry: SGEntry) -> Bool { unsafe addressIfMapped(entry) != nil }
}
