internal import SystemPackage
internal import VFIOUserSystem

/// The slots that records live in: one reserved range of memory, used from the bottom up.
///
/// The range is never moved nor given back before the pool goes, so a pointer to a slot stays good, and
/// reading an unused slot finds an unused record.
@safe
package final class MappingPool {
    /// More slots than this are not reserved, whatever the limit: 2 GiB of address space.
    static let largest = 1 << 24

    let capacity: Int
    let records: UnsafeMutablePointer<MappingRecord>
    private let storage: MemoryMapping
    /// Slots that were used at least once.
    private var touched = 0
    /// An unused slot among those, plus one, or 0.
    private var free: UInt32 = 0
    /// The generation every slot starts at.
    private let firstGeneration: UInt32
    private(set) var count = 0

    init(capacity: Int, firstGeneration: UInt32) throws(Errno) {
        self.capacity = min(max(capacity, 0), MappingPool.largest)
        self.firstGeneration = firstGeneration
        // At least one record, so that slot 0 can be looked at in an empty pool.
        let slots = max(self.capacity, 1)
        storage = try MemoryMapping(reserving: slots * (unsafe MemoryLayout<MappingRecord>.stride))
        guard let base = unsafe storage.base else { throw .noMemory }
        // Fresh pages are zeros, which is an unused record; pages are aligned to more than a record is.
        unsafe records = base.bindMemory(to: MappingRecord.self, capacity: slots)
    }

    /// The record in a slot. The index must be below `capacity`.
    func record(_ slot: UInt32) -> UnsafeMutablePointer<MappingRecord> {
        unsafe records + Int(slot)
    }

    /// A slot for a new record, to be filled at once; nil if there is none.
    func take() -> UInt32? {
        if free != 0 {
            let slot = free - 1
            free = unsafe self.record(slot).pointee.nextFree
            return slot
        }
        guard touched < capacity else { return nil }
        let slot = UInt32(touched)
        touched += 1
        unsafe self.record(slot).pointee.generation = firstGeneration
        return slot
    }

    /// Puts a record into a slot that was taken.
    func fill(_ slot: UInt32, _ record: MappingRecord) {
        var record = unsafe record
        unsafe record.generation = unsafe self.record(slot).pointee.generation
        unsafe record.nextFree = 0
        unsafe self.record(slot).pointee = record
        count += 1
    }

    /// Empties a slot. Entries that name it are stale from here on.
    func remove(_ slot: UInt32) {
        let record = unsafe self.record(slot)
        let generation = unsafe record.pointee.generation &+ 1
        unsafe record.pointee = MappingRecord()
        unsafe record.pointee.generation = generation
        count -= 1
        // A slot whose generations are used up is not used again: an old entry could match.
        if generation != firstGeneration {
            unsafe record.pointee.nextFree = free
            free = slot + 1
        }
    }
}
