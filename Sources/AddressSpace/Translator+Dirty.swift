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
        if hasSynchronizedMemory { unsafe endAccess(entries, count: count) }
        unsafe markDirty(entries, count: count)
    }

    @inline(never)
    private func endAccess(_ entries: UnsafePointer<SGEntry>?, count: Int) {
        guard let entries = unsafe entries else { return }
        for place in 0..<max(0, count) { unsafe endAccess(entries[place]) }
    }

    /// Marks the pages of `count` entries dirty, as far as they are writeable and tracked and dirty logging is on.
    @unsafe
    package func markDirty(_ entries: UnsafePointer<SGEntry>?, count: Int) {
        guard var entry = unsafe entries, count > 0 else { return }
        let shift = unsafe state.pointee.loggingShift
        var left = count
        // Another function does whatever is not simple, and the rest, so that this one needs nothing on the stack.
        repeat {
            guard unsafe markQuickly(entry.pointee, shift) else { return unsafe markSlowly(entry, left) }
            unsafe entry += 1
            left &-= 1
        } while left != 0
    }

    /// The same for one.
    @inline(__always)
    package func markDirty(_ entry: SGEntry) {
        if isLogging, !markQuickly(entry, unsafe state.pointee.loggingShift) { markSlowly(entry) }
    }

    @inline(never)
    private func markSlowly(_ entries: UnsafePointer<SGEntry>, _ count: Int) {
        for place in 0..<count { unsafe markSlowly(entries[place]) }
    }

    /// Marks the pages of an entry whose bits lie in one word, with ``TranslationState/loggingShift``; false if it takes
    /// more than that.
    @inline(__always)
    private func markQuickly(_ entry: SGEntry, _ shift: UInt64) -> Bool {
        guard shift < 64 else { return false }
        guard entry.isWriteable, let words = unsafe words(of: entry) else { return true }
        let first = entry.offset &>> shift
        // The sum does not wrap: the entry lies in its mapping, and the bitmap has a bit for every page of that.
        let last = (entry.offset &+ (entry.length &- 1)) &>> shift
        guard first &>> 6 == last &>> 6 else { return false }
        let bits = (UInt64.max &<< (first & 63)) & (UInt64.max &>> (63 &- (last & 63)))
        unsafe Translator.set(words + Int(truncatingIfNeeded: first &>> 6), bits)
        return true
    }

    /// Marks the pages of an entry in every case, among them that logging is off.
    private func markSlowly(_ entry: SGEntry) {
        let pageSize = unsafe state.pointee.loggingPageSize
        guard pageSize != 0, entry.isWriteable, let words = unsafe words(of: entry) else { return }
        // What was stored before comes before the look at the bits: a report that has just cleared one must be
        // sure to show it, or the bit is set again. Reports fence all threads; where they cannot, this one does it.
        if unsafe state.pointee.fencesMarking { atomicMemoryFence(ordering: .sequentiallyConsistent) }
        let last = entry.offset &+ (entry.length &- 1)
        let shift = unsafe state.pointee.loggingShift
        if shift < 64 {
            unsafe Translator.set(words, entry.offset &>> shift, last &>> shift)
        } else {
            unsafe Translator.set(words, entry.offset / pageSize, last / pageSize)
        }
    }

    /// The bitmap of the mapping that an entry lies in; nil also for an entry of no bytes.
    @inline(__always)
    private func words(of entry: SGEntry) -> DirtyWords? {
        guard let record = unsafe record(of: entry.reference, entry.offset, entry.length), entry.length != 0
        else {
            return nil
        }
        return unsafe record.pointee.dirty
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
