/// A node of an IOVA tree: up to 64 keys in ascending order, each with a slot (leaf) or a child (inner node).
///
/// A node is one block of memory aligned to cache lines:
///
///     0    count, next leaf, previous leaf
///     64   guide: every eighth key, so that a search reads one line of it and one line of keys
///     128  keys; those past the count are UInt64.max
///     640  slots (UInt32) or children (pointers)
///
/// A node belongs to one tree, which allocates it, is the only one to change it, and frees it. Indices come
/// from searches in the node and are below its count.
@unsafe
@frozen
@usableFromInline
package struct TreeNode {
    @usableFromInline let raw: UnsafeMutableRawPointer

    @inlinable
    init(_ raw: UnsafeMutableRawPointer) { unsafe self.raw = raw }

    @inlinable static var fanout: Int { 64 }
    @inlinable static var group: Int { 8 }
    private static let alignment = 64
    private static let leafSize = 640 + fanout * MemoryLayout<UInt32>.stride
    private static let innerSize = 640 + fanout * MemoryLayout<UInt64>.stride

    static func leaf() -> TreeNode { unsafe TreeNode(size: leafSize) }
    static func inner() -> TreeNode { unsafe TreeNode(size: innerSize) }

    private init(size: Int) {
        unsafe raw = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: TreeNode.alignment)
        unsafe raw.initializeMemory(as: UInt64.self, repeating: 0, count: size / 8)
        unsafe keys.update(repeating: UInt64.max, count: unsafe TreeNode.fanout)
        unsafe guide.update(repeating: UInt64.max, count: unsafe TreeNode.group)
    }

    func free() { unsafe raw.deallocate() }

    @inlinable
    var count: Int {
        get { unsafe raw.assumingMemoryBound(to: Int.self).pointee }
        nonmutating set { unsafe raw.assumingMemoryBound(to: Int.self).pointee = newValue }
    }

    @inlinable
    var next: TreeNode? {
        get { unsafe link(8).pointee.map { unsafe TreeNode($0) } }
        nonmutating set { unsafe link(8).pointee = newValue?.raw }
    }

    @inlinable
    var previous: TreeNode? {
        get { unsafe link(16).pointee.map { unsafe TreeNode($0) } }
        nonmutating set { unsafe link(16).pointee = newValue?.raw }
    }

    @inlinable
    func link(_ offset: Int) -> UnsafeMutablePointer<UnsafeMutableRawPointer?> {
        unsafe (raw + offset).assumingMemoryBound(to: UnsafeMutableRawPointer?.self)
    }

    @inlinable
    var guide: UnsafeMutablePointer<UInt64> { unsafe (raw + 64).assumingMemoryBound(to: UInt64.self) }

    @inlinable
    var keys: UnsafeMutablePointer<UInt64> { unsafe (raw + 128).assumingMemoryBound(to: UInt64.self) }

    @inlinable
    var slots: UnsafeMutablePointer<UInt32> { unsafe (raw + 640).assumingMemoryBound(to: UInt32.self) }

    @inlinable
    var children: UnsafeMutablePointer<TreeNode> {
        unsafe (raw + 640).assumingMemoryBound(to: TreeNode.self)
    }

    /// How many keys are at or below `key`. No branch depends on the keys.
    @inlinable
    @inline(__always)
    func rank(of key: UInt64) -> Int {
        let groups = unsafe TreeNode.rank(of: key, among: guide)
        // The keys of later groups are above; of earlier ones at or below.
        let start = (groups &- (groups != 0 ? 1 : 0)) &* 8
        let rank = unsafe start &+ TreeNode.rank(of: key, among: keys + start)
        // Only the greatest key is at or above the filling too: the line with the count is seldom needed.
        if _fastPath(key != UInt64.max) { return rank }
        return unsafe min(rank, count)
    }

    /// How many of eight keys are at or below `key`.
    @inlinable
    @inline(__always)
    static func rank(of key: UInt64, among keys: UnsafeMutablePointer<UInt64>) -> Int {
        // A comparison used as a number, which a Bool is in memory, makes no branch; a choice of 1 or 0
        // would.
        func isAtMost(_ index: Int) -> UInt8 { unsafe unsafeBitCast(keys[index] <= key, to: UInt8.self) }
        let low = isAtMost(0) &+ isAtMost(1) &+ isAtMost(2) &+ isAtMost(3)
        let high = isAtMost(4) &+ isAtMost(5) &+ isAtMost(6) &+ isAtMost(7)
        return Int(low &+ high)
    }

    /// Brings the guide up to date with the keys, and the filling behind the last key.
    func finishEdit(from oldCount: Int) {
        if unsafe count < oldCount {
            unsafe (keys + count).update(repeating: UInt64.max, count: oldCount - count)
        }
        for index in 0..<(unsafe TreeNode.group) { unsafe guide[index] = keys[index * TreeNode.group] }
    }

    /// Makes room at `index` for a key and gives it its value's place. The node must not be full.
    private func open(_ index: Int, _ key: UInt64) {
        unsafe (keys + index + 1).update(from: keys + index, count: count - index)
        unsafe keys[index] = key
    }

    func insert(_ key: UInt64, slot: UInt32, at index: Int) {
        unsafe open(index, key)
        unsafe (slots + index + 1).update(from: slots + index, count: count - index)
        unsafe slots[index] = slot
        unsafe count += 1
        unsafe finishEdit(from: count)
    }

    func insert(_ key: UInt64, child: TreeNode, at index: Int) {
        unsafe open(index, key)
        unsafe (children + index + 1).update(from: children + index, count: count - index)
        unsafe children[index] = child
        unsafe count += 1
        unsafe finishEdit(from: count)
    }

    func lowerFirstKey(to key: UInt64) {
        unsafe keys[0] = key
        unsafe guide[0] = key
    }

    func remove(at index: Int, leaf: Bool) {
        let oldCount = unsafe count
        let behind = oldCount - index - 1
        unsafe (keys + index).update(from: keys + index + 1, count: behind)
        if leaf {
            unsafe (slots + index).update(from: slots + index + 1, count: behind)
        } else {
            unsafe (children + index).update(from: children + index + 1, count: behind)
        }
        unsafe count = oldCount - 1
        unsafe finishEdit(from: oldCount)
    }

    /// Moves everything from `index` on to the end of another node, which has room.
    func moveTail(from index: Int, to other: TreeNode, leaf: Bool) {
        let oldCount = unsafe count
        let otherCount = unsafe other.count
        let moved = oldCount - index
        unsafe (other.keys + otherCount).update(from: keys + index, count: moved)
        if leaf {
            unsafe (other.slots + otherCount).update(from: slots + index, count: moved)
        } else {
            unsafe (other.children + otherCount).update(from: children + index, count: moved)
        }
        unsafe other.count = otherCount + moved
        unsafe other.finishEdit(from: otherCount)
        unsafe count = index
        unsafe finishEdit(from: oldCount)
    }
}
