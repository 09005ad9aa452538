internal import NVMeDriver
internal import SystemPackage
internal import VFIOUserClient

/// Data that depends on a seed and on where it is in the namespace, so that blocks which were mixed up, or come from
/// another run, differ in every word.
struct Pattern {
    let seed: UInt64
    let blockShift: Int

    /// The 8 bytes at a place, counted in words from the namespace's beginning.
    @inline(__always)
    func word(_ place: UInt64) -> UInt64 {
        // The finalizer of SplitMix64, which is a bijection: each place has another word.
        var value = seed &+ place &* 0x9e37_79b9_7f4a_7c15
        value = (value ^ value >> 30) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ value >> 27) &* 0x94d0_49bb_1331_11eb
        return value ^ value >> 31
    }

    private func words(_ blocks: Range<UInt64>) -> Range<UInt64> {
        blocks.lowerBound << UInt64(blockShift - 3)..<blocks.upperBound << UInt64(blockShift - 3)
    }

    /// Writes the data of blocks to memory.
    func fill(_ blocks: Range<UInt64>, _ memory: MappedMemory, at offset: Int) throws(Errno) {
        let words = words(blocks)
        let target = try MappedRecords(memory, at: offset, count: words.count, stride: 8)
        for place in 0..<words.count {
            try target.store(word(words.lowerBound &+ UInt64(place)), at: place)
        }
    }

    /// Compares memory with the data of blocks.
    ///
    /// - Returns: the first difference.
    func check(_ blocks: Range<UInt64>, _ memory: MappedMemory, at offset: Int) throws(Errno) -> Difference? {
        let words = words(blocks)
        let source = try MappedRecords(memory, at: offset, count: words.count, stride: 8)
        for place in 0..<words.count {
            let expected = word(words.lowerBound &+ UInt64(place))
            let found: UInt64 = try source.load(place)
            guard found != expected else { continue }
            let byte = (found ^ expected).trailingZeroBitCount / 8
            let position = (words.lowerBound + UInt64(place)) * 8 + UInt64(byte)
            return Difference(
                block: position >> UInt64(blockShift), offset: Int(position & (1 << UInt64(blockShift) - 1)),
                expected: UInt8(truncatingIfNeeded: expected >> UInt64(8 * byte)),
                found: UInt8(truncatingIfNeeded: found >> UInt64(8 * byte)))
        }
        return nil
    }

    /// A byte that is not as it should be.
    struct Difference: Error, Equatable {
        let block: UInt64
        /// In the block.
        let offset: Int
        let expected: UInt8
        let found: UInt8
    }
}
