import Testing

@testable import VFIOUserAddressSpace

@Suite struct IOVATreeTests {
    /// The keys and slots in order, by iteration.
    func contents(_ tree: borrowing IOVATree) -> [[UInt64]] {
        var result: [[UInt64]] = []
        var place = unsafe tree.first
        while let here = unsafe place {
            unsafe result.append([here.key, UInt64(here.slot)])
            unsafe place = here.next
        }
        return result
    }

    /// Counts entries below a node, checking what must hold of every node. Returns the leaves in order.
    func check(_ node: TreeNode, _ level: Int, _ range: ClosedRange<UInt64>, _ leaves: inout [TreeNode])
        -> Int
    {
        let count = unsafe node.count
        var sound = (1...64).contains(count)
        for index in 0..<64 {
            let key = unsafe node.keys[index]
            if index >= count { sound = sound && key == UInt64.max }
            if index > 0, index < count { sound = unsafe sound && node.keys[index - 1] < key }
            if index % 8 == 0 { sound = unsafe sound && node.guide[index / 8] == key }
            if index < count { sound = sound && range.contains(key) }
        }
        #expect(sound)
        // What is checked below is meaningless then.
        guard sound else { return 0 }
        if level == 0 {
            unsafe leaves.append(node)
            return count
        }
        var total = 0
        for index in 0..<count {
            let low = unsafe node.keys[index]
            let high = index + 1 < count ? unsafe node.keys[index + 1] - 1 : range.upperBound
            total += unsafe check(node.children[index], level - 1, low...high, &leaves)
        }
        return total
    }

    func checkAll(_ tree: borrowing IOVATree) -> Int {
        guard let root = unsafe tree.root else { return 0 }
        var leaves: [TreeNode] = unsafe []
        let total = unsafe check(root, tree.height, 0...UInt64.max, &leaves)
        for index in unsafe leaves.indices {
            let next = unsafe leaves[index].next?.raw
            let expected = unsafe index + 1 < leaves.count ? leaves[index + 1].raw : nil
            let previous = unsafe leaves[index].previous?.raw
            let before = unsafe index > 0 ? leaves[index - 1].raw : nil
            let linked = unsafe next == expected && previous == before
            #expect(linked)
        }
        #expect(total == tree.count)
        return unsafe leaves.count
    }

    @Test(arguments: [20, 300, 5000, 1 << 40])
    func likeAModel(domain: UInt64) {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = Seeded(seed)
        let tree = IOVATree()
        var model: [UInt64: UInt32] = [:]
        for round in 0..<20_000 {
            // Phases of growing and shrinking, so that nodes are split and merged at every level.
            let grows = round / 2500 % 2 == 0
            let key = random.below(16) == 0 ? UInt64.max - random.below(3) : random.below(domain)
            if random.below(4) < (grows ? 3 : 1) {
                if model[key] == nil {
                    model[key] = UInt32(round)
                    tree.insert(key, UInt32(round))
                }
            } else {
                // Of a large domain a random key is hardly ever there.
                let victim = unsafe tree.ceiling(key)?.key ?? key
                #expect(tree.remove(victim) == model.removeValue(forKey: victim), "seed \(seed)")
            }
            if round % 500 == 0 || round == 19_999 {
                let sorted = model.sorted { $0.key < $1.key }.map { [$0.key, UInt64($0.value)] }
                #expect(contents(tree) == sorted, "seed \(seed)")
                _ = checkAll(tree)
                for _ in 0..<50 {
                    let probe =
                        random.below(4) == 0
                        ? sorted.randomElement(using: &random)?[0] ?? 0 : random.below(domain + 3)
                    let floor = sorted.last { $0[0] <= probe }?[0]
                    let ceiling = sorted.first { $0[0] >= probe }?[0]
                    #expect(unsafe tree.floor(probe)?.key == floor, "seed \(seed)")
                    #expect(unsafe tree.ceiling(probe)?.key == ceiling, "seed \(seed)")
                }
            }
        }
    }

    /// High enough that inner nodes split and merge.
    @Test func growsAndShrinksAtRandom() {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = Seeded(seed)
        var keys = Array(UInt64(0)..<40_000)
        let tree = IOVATree()
        keys.shuffle(using: &random)
        for key in keys { tree.insert(key << 20, UInt32(key)) }
        _ = checkAll(tree)
        #expect(tree.height == 2, "seed \(seed)")
        keys.shuffle(using: &random)
        for (index, key) in keys.enumerated() {
            #expect(tree.remove(key << 20) == UInt32(key), "seed \(seed)")
            if index % 2000 == 0 {
                let leaves = checkAll(tree)
                // Two neighbours are more than three quarters of one node together, or neither is sparse.
                #expect(leaves <= tree.count / 12 + 64, "seed \(seed)")
                #expect(contents(tree).map { $0[1] } == keys[(index + 1)...].sorted(), "seed \(seed)")
            }
        }
        #expect(tree.count == 0 && tree.height == 0)
    }

    @Test func ascendingInsertionFillsNodes() {
        let tree = IOVATree()
        for key in UInt64(0)..<65_536 { tree.insert(key << 12, UInt32(key)) }
        #expect(checkAll(tree) == 1024)
        #expect(tree.height == 2)
        for key in UInt64(0)..<65_536 { #expect(tree.remove(key << 12) == UInt32(key)) }
        #expect(tree.count == 0)
        let isEmpty = unsafe tree.root == nil
        #expect(isEmpty)
    }

    /// Removing all but one key of each leaf must not leave the leaves behind.
    @Test func sparseLeavesAreMerged() {
        let tree = IOVATree()
        for key in UInt64(0)..<16_384 { tree.insert(key, 0) }
        for key in UInt64(0)..<16_384 where key % 64 != 0 { _ = tree.remove(key) }
        #expect(tree.count == 256)
        #expect(checkAll(tree) <= 16)
    }
}
