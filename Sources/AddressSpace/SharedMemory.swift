internal import VFIOUserSystem

/// An mmap that several mappings use; unmapped with the last of them.
package final class SharedMemory {
    private let mapping: MemoryMapping

    init(_ mapping: consuming MemoryMapping) { self.mapping = mapping }
}
