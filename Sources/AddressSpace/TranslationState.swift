public import Synchronization

/// What translation reads, at a stable address: the attached IOAS's tree, the records and dirty logging.
///
/// Only the table changes it, and only while no other thread translates (the device is quiesced). The hint
/// alone is written by translations.
@unsafe
@usableFromInline
package struct TranslationState: ~Copyable {
    /// The record that the last lookup found, by slot. Any slot will do: it is compared with the address.
    @usableFromInline let hint = Atomic<UInt32>(0)
    /// Slots there are; the hint is always below, or 0.
    @usableFromInline let capacity: UInt32
    @usableFromInline let records: UnsafeMutablePointer<MappingRecord>
    /// Of the attached IOAS; nil if nothing is attached, or nothing is mapped in it.
    @usableFromInline var root: TreeNode?
    @usableFromInline var height = 0
    /// Dirty logging's page size, 0 if off.
    @usableFromInline var loggingPageSize: UInt64 = 0 {
        didSet { unsafe noteUses() }
    }
    /// Its base 2 logarithm if marking needs to know no more; 64 if logging is off, the page size is no power of two, or
    /// marking has to fence.
    @usableFromInline var loggingShift: UInt64 = 64
    /// Mappings of dma-bufs, whether or not the device sees them.
    @usableFromInline var synchronizedCount = 0 {
        didSet { unsafe noteUses() }
    }
    /// Whether the end of a use means anything: logging is on, or there are dma-bufs.
    @usableFromInline var mindsUses = false
    /// Whether marking has to order itself with a report, which then cannot do it for both.
    @usableFromInline var fencesMarking = false

    init(capacity: Int, records: UnsafeMutablePointer<MappingRecord>) {
        unsafe self.capacity = UInt32(clamping: capacity)
        unsafe self.records = unsafe records
    }

    private mutating func noteUses() {
        unsafe mindsUses = loggingPageSize != 0 || synchronizedCount != 0
    }
}
