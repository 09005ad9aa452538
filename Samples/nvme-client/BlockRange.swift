internal import ArgumentParser
internal import NVMeDriver

/// Which blocks of the namespace to use.
struct BlockRange: ParsableArguments {
    @Option(help: "First logical block.")
    var block: UInt64 = 0

    @Option(help: "Number of logical blocks; to the end without it.")
    var count: UInt64?

    /// The blocks, all of which the namespace has.
    func resolve(_ namespace: Namespace) throws -> Range<UInt64> {
        guard block < namespace.blockCount else {
            throw ValidationError("the namespace has the blocks 0 to \(namespace.blockCount - 1)")
        }
        let there = namespace.blockCount - block
        guard count ?? there <= there else {
            throw ValidationError("there are only \(there) blocks from block \(block) on")
        }
        return block..<block + (count ?? there)
    }
}
