/// An ordered map from the first IOVA of a range to the slot of its record: a B+-tree.
///
/// The tree knows starts only; where a range ends its record says. Ranges never overlap, so the one range
/// that can hold an address, or overlap a range that ends there, is the one with the greatest start at or
/// below it: `floor` answers every question.
///
/// Lookup, insertion and removal are O(log n), the next and previous range O(1). Ascending insertion leaves
/// full nodes behind. Only one thread may change the tree, and none may search meanwhile.
///
/// A class, whose fields are read and written one at a time: a structure's methods would be checked for exclusive access
/// wherever another class has it.
@safe
final class IOVATree {
    /// nil of an empty tree.
    private(set) var root: TreeNode?
    /// Levels of inner nodes above the leaves.
    private(set) var height = 0
    private(set) var count = 0

    init() {}

    deinit { removeAll() }

    func removeAll() {
        if let root = unsafe root { unsafe IOVATree.free(root, height) }
        unsafe root = nil
        height = 0
        count = 0
    }

    private static func free(_ node: TreeNode, _ level: Int) {
        if level > 0 {
            for index in 0..<(unsafe node.count) { unsafe free(node.children[index], level - 1) }
        }
        unsafe node.free()
    }

    /// The place of the range with the greatest start at or below `key`.
    func floor(_ key: UInt64) -> TreePosition? {
        unsafe TreePosition(root: root, height: height, floor: key)
    }

    /// The place of the range with the least start at or above `key`.
    func ceiling(_ key: UInt64) -> TreePosition? {
        guard let place = unsafe floor(key) else { return unsafe first }
        return unsafe place.key == key ? place : place.next
    }

    /// The place of the range with the least start.
    var first: TreePosition? {
        guard var node = unsafe root else { return nil }
        for _ in 0..<height { unsafe node = node.children[0] }
        return unsafe TreePosition(leaf: node, index: 0)
    }

    /// Adds a range. Its start must not be in the tree.
    func insert(_ key: UInt64, _ slot: UInt32) {
        count += 1
        guard let root = unsafe root else {
            let leaf = unsafe TreeNode.leaf()
            unsafe leaf.insert(key, slot: slot, at: 0)
            unsafe self.root = leaf
            return
        }
        guard let split = unsafe IOVATree.insert(key, slot, into: root, height) else { return }
        let top = unsafe TreeNode.inner()
        unsafe top.insert(root.keys[0], child: root, at: 0)
        unsafe top.insert(split.key, child: split.node, at: 1)
        unsafe self.root = top
        height += 1
    }

    /// Takes a range out. Returns its slot, nil if there is no such start.
    func remove(_ key: UInt64) -> UInt32? {
        guard let top = unsafe root, let slot = unsafe IOVATree.remove(key, from: top, height) else {
            return nil
        }
        count -= 1
        var node = unsafe top
        // A root with one child is a level too many, one without any is none.
        while height > 0, unsafe node.count == 1 {
            let child = unsafe node.children[0]
            unsafe node.free()
            unsafe node = child
            height -= 1
        }
        if unsafe node.count == 0 {
            unsafe node.free()
            unsafe root = nil
            height = 0
        } else {
            unsafe root = node
        }
        return slot
    }
}

/// A place in a tree: a range's start and slot. Good until the tree changes.
@unsafe
@frozen
@usableFromInline
struct TreePosition {
    @usableFromInline let leaf: TreeNode
    @usableFromInline let index: Int

    @inlinable
    init(leaf: TreeNode, index: Int) {
        unsafe self.leaf = leaf
        unsafe self.index = index
    }

    /// The place of the greatest key at or below `key`.
    @inlinable
    init?(root: TreeNode?, height: Int, floor key: UInt64) {
        guard var node = unsafe root else { return nil }
        for _ in 0..<height {
            // Below all keys there is nothing, which the first child's leaves will say.
            let rank = unsafe node.rank(of: key)
            unsafe node = node.children[rank &- (rank != 0 ? 1 : 0)]
        }
        let rank = unsafe node.rank(of: key)
        if rank > 0 {
            unsafe self.init(leaf: node, index: rank &- 1)
        } else if let before = unsafe node.previous {
            // A removed start may live on as a key of inner nodes; the range is then at the end of the leaf
            // before.
            unsafe self.init(leaf: before, index: before.count &- 1)
        } else {
            return nil
        }
    }

    @inlinable var key: UInt64 { unsafe leaf.keys[index] }
    @inlinable var slot: UInt32 { unsafe leaf.slots[index] }

    @inlinable
    var next: TreePosition? {
        if unsafe index &+ 1 < leaf.count { return unsafe TreePosition(leaf: leaf, index: index &+ 1) }
        guard let next = unsafe leaf.next else { return nil }
        return unsafe TreePosition(leaf: next, index: 0)
    }
}
