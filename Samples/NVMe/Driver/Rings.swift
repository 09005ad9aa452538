internal import SystemPackage
internal import VFIOUserClient

/// The memory of a queue pair: the submission queue, the completion queue and the PRP lists of its commands, one
/// behind the other.
struct Rings {
    let memory: DMABuffer
    let submissions: MappedRecords
    let completions: MappedRecords
    /// Where commands name their data by PRPs.
    let lists: PRPList?
    /// Most bytes of data of one command.
    let maxTransfer: Int

    private static let completionByteCount = 16

    /// Makes the memory.
    ///
    /// - Throws: `.connection`.
    init(_ space: DMASpace, entries: Int, maxTransfer: Int, usesSGL: Bool) throws(NVMeError) {
        let completionOffset = Self.completionOffset(entries)
        let listOffset = completionOffset + Self.wholePages(entries * Self.completionByteCount)
        let listBytes = usesSGL ? 0 : PRPList.byteCount(commands: entries - 1, transfer: maxTransfer)
        memory = try space.make(listOffset + listBytes)
        let (memory, iova) = (memory.memory, memory.iova)
        submissions = try connection { () throws(Errno) in
            try MappedRecords(memory, at: 0, count: entries, stride: SubmissionEntry.byteCount)
        }
        completions = try connection { () throws(Errno) in
            try MappedRecords(memory, at: completionOffset, count: entries, stride: Self.completionByteCount)
        }
        lists =
            usesSGL
            ? nil
            : try connection { () throws(Errno) in
                try PRPList(
                    memory, at: listOffset, iova: iova &+ UInt64(listOffset), commands: entries - 1,
                    transfer: maxTransfer)
            }
        self.maxTransfer = maxTransfer
    }

    /// Where the completion queue is in the memory: at a page boundary, as each queue has to be.
    static func completionOffset(_ entries: Int) -> Int { wholePages(entries * SubmissionEntry.byteCount) }

    private static func wholePages(_ count: Int) -> Int { (count + 4095) & ~4095 }
}
