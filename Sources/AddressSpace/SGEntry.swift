/// One piece of a translated range: the C interface's `dma_sg_t`, 40 bytes.
///
/// Entries are kept by device programs for as long as they like. `reference` names a slot and a generation,
/// so an entry whose mapping is gone is recognized and refused.
@frozen
package struct SGEntry: BitwiseCopyable, Sendable {
    /// The first IOVA of the mapping that holds the piece.
    package var base: UInt64
    /// Low half: the mapping's slot plus one. High half: the slot's generation. 0 is no mapping.
    package var reference: UInt64
    /// Bytes.
    package var length: UInt64
    /// Where in the mapping the piece starts.
    package var offset: UInt64
    /// 1 if the translation asked for the right to write. A byte, because the memory is the program's and a
    /// `Bool` of another value would be undefined.
    package var writeable: UInt8

    @inlinable
    package init(base: UInt64, reference: UInt64, length: UInt64, offset: UInt64, writeable: UInt8) {
        self.base = base
        self.reference = reference
        self.length = length
        self.offset = offset
        self.writeable = writeable
    }

    /// The entry that every use refuses.
    @inlinable
    package init() { self.init(base: 0, reference: 0, length: 0, offset: 0, writeable: 0) }

    /// The IOVA of the piece's first byte.
    @inlinable
    package var address: UInt64 { base &+ offset }

    @inlinable
    package var isWriteable: Bool { writeable != 0 }
}
