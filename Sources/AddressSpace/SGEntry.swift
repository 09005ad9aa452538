/// One piece of a translated range: the C interface's `dma_sg_t`, 40 bytes.
///
/// Entries are kept by device programs for as long as they like. `reference` names a slot and a generation,
/// so an entry whose mapping is gone is recognized and refused.
@frozen
@usableFromInline
package struct SGEntry: BitwiseCopyable, Sendable {
    /// The first IOVA of the mapping that holds the piece.
    @usableFromInline package var base: UInt64
    /// Low half: the mapping's slot plus one. High half: the slot's generation. 0 is no mapping.
    @usableFromInline package var reference: UInt64
    /// Bytes.
    @usableFromInline package var length: UInt64
    /// Where in the mapping the piece starts.
    @usableFromInline package var offset: UInt64
    /// Low byte: 1 if the translation asked for the right to write, C's bool. The rest is padding in C; whole
    /// words are quickly copied.
    @usableFromInline package var writeable: UInt64

    @inlinable
    package init(base: UInt64, reference: UInt64, length: UInt64, offset: UInt64, writeable: UInt64) {
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
    package var isWriteable: Bool { writeable & 0xff != 0 }
}
