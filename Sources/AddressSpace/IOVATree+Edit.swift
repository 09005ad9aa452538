/// Changes below the root. Recursion is as deep as the tree is high: at most 8 levels.
extension IOVATree {
    /// A node that was split off to the right, and the key that parts it from what is left of it.
    @unsafe
    struct Split {
        let key: UInt64
        let node: TreeNode
    }

    private static var fanout: Int { unsafe TreeNode.fanout }
    /// A node with fewer entries is merged with a neighbour...
    private static var sparse: Int { fanout / 4 }
    /// ... if both together have no more than this.
    private static var merged: Int { fanout * 3 / 4 }

    static func insert(_ key: UInt64, _ slot: UInt32, into node: TreeNode, _ level: Int) -> Split? {
        let rank = unsafe node.rank(of: key)
        if level == 0 { return unsafe insert(key, slot, intoLeaf: node, at: rank) }
        let child = max(rank - 1, 0)
        // A node's first key is at or below all that its first child holds, as every other key is for its
        // child.
        if rank == 0 { unsafe node.lowerFirstKey(to: key) }
        guard let split = unsafe insert(key, slot, into: node.children[child], level - 1) else { return nil }
        let index = child + 1
        if unsafe node.count < fanout {
            unsafe node.insert(split.key, child: split.node, at: index)
            return nil
        }
        let right = unsafe TreeNode.inner()
        if index == fanout {
            // Growing at the end: leave a full node behind.
            unsafe right.insert(split.key, child: split.node, at: 0)
            return unsafe Split(key: split.key, node: right)
        }
        let half = fanout / 2
        unsafe node.moveTail(from: half, to: right, leaf: false)
        let key = unsafe right.keys[0]
        if index <= half {
            unsafe node.insert(split.key, child: split.node, at: index)
        } else {
            unsafe right.insert(split.key, child: split.node, at: index - half)
        }
        return unsafe Split(key: key, node: right)
    }

    private static func insert(
        _ key: UInt64, _ slot: UInt32, intoLeaf leaf: TreeNode, at index: Int
    ) -> Split? {
        if unsafe leaf.count < fanout {
            unsafe leaf.insert(key, slot: slot, at: index)
            return nil
        }
        let right = unsafe TreeNode.leaf()
        let next = unsafe leaf.next
        if unsafe index == fanout && next == nil {
            // Growing at the end: leave a full node behind.
            unsafe right.insert(key, slot: slot, at: 0)
        } else {
            let half = fanout / 2
            unsafe leaf.moveTail(from: half, to: right, leaf: true)
            if index <= half {
                unsafe leaf.insert(key, slot: slot, at: index)
            } else {
                unsafe right.insert(key, slot: slot, at: index - half)
            }
        }
        unsafe right.previous = leaf
        unsafe right.next = next
        unsafe leaf.next = right
        unsafe next?.previous = right
        return unsafe Split(key: right.keys[0], node: right)
    }

    static func remove(_ key: UInt64, from node: TreeNode, _ level: Int) -> UInt32? {
        let rank = unsafe node.rank(of: key)
        if level == 0 {
            guard rank > 0, unsafe node.keys[rank - 1] == key else { return nil }
            let slot = unsafe node.slots[rank - 1]
            unsafe node.remove(at: rank - 1, leaf: true)
            return slot
        }
        let index = max(rank - 1, 0)
        let child = unsafe node.children[index]
        guard let slot = unsafe remove(key, from: child, level - 1) else { return nil }
        if unsafe child.count == 0 {
            if level == 1 { unsafe unlink(child) }
            unsafe child.free()
            unsafe node.remove(at: index, leaf: false)
        } else if unsafe child.count < sparse {
            unsafe mergeIfSmall(node, index, level)
            unsafe mergeIfSmall(node, index - 1, level)
        }
        return slot
    }

    /// Merges a child with the one to its right if there are both and one node holds them.
    private static func mergeIfSmall(_ node: TreeNode, _ index: Int, _ level: Int) {
        guard unsafe index >= 0 && index + 1 < node.count else { return }
        let left = unsafe node.children[index]
        let right = unsafe node.children[index + 1]
        guard unsafe left.count + right.count <= merged else { return }
        if level == 1 { unsafe unlink(right) }
        unsafe right.moveTail(from: 0, to: left, leaf: level == 1)
        unsafe right.free()
        unsafe node.remove(at: index + 1, leaf: false)
    }

    private static func unlink(_ leaf: TreeNode) {
        let next = unsafe leaf.next
        let previous = unsafe leaf.previous
        unsafe previous?.next = next
        unsafe next?.previous = previous
    }
}
