import Testing
import VFIOUserClient

@testable import nvme_client

struct PatternTests {
    @Test(arguments: [9, 12]) func findsEveryDifference(_ shift: Int) throws {
        let memory = try MappedMemory(privateCount: 4 << shift)
        let pattern = Pattern(seed: 7, blockShift: shift)
        try pattern.fill(10..<13, memory, at: 1 << shift)
        #expect(try pattern.check(10..<13, memory, at: 1 << shift) == nil)
        // The same blocks, wherever they begin.
        #expect(try pattern.check(11..<13, memory, at: 2 << shift) == nil)
        for place in [0, 1, 7, 8, (1 << shift) - 1, 1 << shift, (3 << shift) - 1] {
            let value: UInt8 = try memory.load(at: (1 << shift) + place)
            try memory.store(value ^ 0x10, at: (1 << shift) + place)
            let difference = try pattern.check(10..<13, memory, at: 1 << shift)
            #expect(difference?.block == 10 + UInt64(place >> shift))
            #expect(difference?.offset == place & ((1 << shift) - 1))
            #expect(difference?.expected == value && difference?.found == value ^ 0x10)
            try memory.store(value, at: (1 << shift) + place)
        }
    }

    /// Blocks of another place, another seed or another run of the words are none of theirs.
    @Test func wordsDiffer() {
        let pattern = Pattern(seed: 1, blockShift: 9)
        #expect(Set((0..<10_000).map { pattern.word($0) }).count == 10_000)
        let other = Pattern(seed: 2, blockShift: 9)
        #expect((0..<10_000).allSatisfy { pattern.word($0) != other.word($0) })
    }
}
