/// A namespace: a store, and how it is divided into blocks.
@safe
struct Namespace {
    let store: any BackingStore
    /// Base 2 logarithm of the block size: 9 or 12.
    var blockShift: UInt64
    /// Set for good by the operator, not by the client.
    let isReadOnly: Bool
    let isVolatile: Bool
    let zeroesWhenDeallocated: Bool
    private let minimumBlockSize: Int
    /// The store's bytes if it is memory.
    let memory: UnsafeMutableRawPointer?
    let capacity: UInt64
    /// Its commands are refused.
    var isFormatting = false {
        didSet { reachable = isFormatting ? 0 : capacity }
    }
    /// Bytes that commands find: all, or none.
    private var reachable: UInt64

    init(_ store: any BackingStore, blockShift: UInt64) {
        self.store = store
        self.blockShift = blockShift
        isReadOnly = store.isReadOnly
        isVolatile = store.hasVolatileCache
        zeroesWhenDeallocated = store.zeroesWhenDeallocated
        minimumBlockSize = store.minimumBlockSize
        unsafe memory = store.bytes?.baseAddress
        capacity = store.byteCount
        reachable = capacity
    }

    /// Logical blocks.
    var blockCount: UInt64 { capacity >> blockShift }

    /// Whether `count` blocks from `first` on exist, and can be used now.
    @inline(__always)
    func contains(_ first: UInt64, _ count: UInt64) -> Bool {
        let (end, overflows) = first.addingReportingOverflow(count)
        return !overflows && end <= reachable >> blockShift
    }

    /// Whether there can be blocks of this size: the store takes them, and has room for one.
    func offers(_ shift: UInt64) -> Bool { minimumBlockSize <= 1 << shift && capacity >> shift > 0 }

    /// Block sizes there are, by the number of their format.
    static let formats: [UInt64] = [9, 12]
    var format: UInt8 { blockShift == 12 ? 1 : 0 }
}
