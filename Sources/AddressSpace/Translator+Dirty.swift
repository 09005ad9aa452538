internal import Synchronization

extension Translator {
    /// Whether dirty logging is on.
    @inlinable
    package var isLogging: Bool { unsafe state.pointee.loggingPageSize != 0 }

    /// Whether `put` does anything.
    @inlinable
    package var mindsUses: Bool { unsafe state.pointee.mindsUses }

    /// Ends the use of `count` entries: their pages become dirty if they could be written and dirty logging is on, and
    /// the exporter is told of those that are a dma-buf's.
    @unsafe
    package func put(_ entries: UnsafePointer<SGEntry>?, count: Int) {
        guard let entries = unsafe entries else { return }
        var place = 0
        while place < count {
            if hasSynchronizedMemory { unsafe endAccess(entries[place]) }
            unsafe markDirty(entries[place])
            place &+= 1
        }
    }

    /// Marks the pages of `count` entries dirty, as far as they are writeable and tracked and dirty logging is on.
    @unsafe
    package func markDirty(_ entries: UnsafePointer<SGEntry>?, count: Int) {
        guard let entries = unsafe entries else { return }
        var place = 0
        while place < count {
            unsafe markDirty(entries[place])
            place &+= 1
        }
    }

    /// The same for one.
    @inline(__always)
    package func markDirty(_ entry: SGEntry) {
        if isLogging, entry.isWriteable { mark(entry.reference, entry.offset, entry.length) }
    }

    /// Marks the pages of the entry with these fields.
    @inline(__always)
    private func mark(_ reference: UInt64, _ offset: UInt64, _ length: UInt64) {
        guard let record = unsafe record(of: reference, offset, length),
            let words = unsafe record.pointee.dirty, length > 0
        else { return }
        let first: UInt64
        let last: UInt64
        // The sum does not wrap: the entry lies in its mapping.
        let end = offset &+ (length &- 1)
        let shift = unsafe state.pointee.loggingShift
        if shift < 64 {
            first = offset &>> shift
            last = end &>> shift
        } else {
            // Not 0: logging is on.
            let pageSize = unsafe state.pointee.loggingPageSize
            first = offset / pageSize
            last = end / pageSize
        }
        // What was stored before comes before the look at the bits: a report that has just cleared one must be
        // sure to show it, or the bit is set again. Reports fence all threads; where they cannot, this one does it.
        if unsafe state.pointee.fencesMarking { atomicMemoryFence(ordering: .sequentiallyConsistent) }
        // The bitmap has a bit for every page of the mapping.
        unsafe Translator.set(words, first, last)
    }

    /// Sets bits `first` to `last`. A word is written only if a bit in it is new: readers of the same
    /// words on other processors are not disturbed by pages that are dirty already.
    private static func set(_ words: DirtyWords, _ first: UInt64, _ last: UInt64) {
        let firstWord = Int(truncatingIfNeeded: first &>> 6)
        let lastWord = Int(truncatingIfNeeded: last &>> 6)
        let head = UInt64.max &<< (first & 63)
        let tail = UInt64.max &>> (63 &- (last & 63))
        if firstWord == lastWord {
            unsafe set(words + firstWord, head & tail)
            return
        }
        unsafe set(words + firstWord, head)
        var word = firstWord &+ 1
        while word < lastWord {
            if unsafe words[word].load(ordering: .relaxed) != UInt64.max {
                // All bits: there is nothing to keep, so storing is as good as or-ing.
                unsafe words[word].store(UInt64.max, ordering: .releasing)
            }
            word &+= 1
        }
        unsafe set(words + lastWord, tail)
    }

    @inline(__always)
    private static func set(_ word: DirtyWords, _ bits: UInt64) {
        if unsafe word.pointee.load(ordering: .relaxed) & bits != bits {
            _ = unsafe word.pointee.bitwiseOr(bits, ordering: .releasing)
        }
    }
}
