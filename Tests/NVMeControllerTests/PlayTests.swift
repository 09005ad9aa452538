import NVMeSupport
import Testing

struct PlayTests {
    /// Random bytes, played.
    @Test func random() throws {
        let seed = UInt64.random(in: 0...(.max))
        var random = Random(state: seed)
        for _ in 0..<60 {
            let bytes = (0..<4000).map { _ in UInt8(truncatingIfNeeded: random.next()) }
            #expect(try Play(bytes).run() == nil, "seed \(seed)")
        }
    }
}
