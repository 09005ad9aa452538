import NVMeController
import NVMeStores
import NVMeSupport
import Testing

/// Set Features and Get Features: current, default and saved values, and what can be done with them.
struct FeatureTests {
    private static let all: [UInt32] = [1, 2, 4, 5, 6, 7, 8, 9, 0x0a, 0x0b]

    private func driver() throws -> Driver {
        try Driver(stores: [LateStore(byteCount: 1 << 20, isLate: false)]) { $0.queuePairs = 4 }
    }

    /// Nothing can be saved; the saved value is the default.
    @Test func selections() throws {
        let driver = try driver()
        func get(_ feature: UInt32, _ selection: UInt32) -> UInt32? {
            let answer = driver.admin(0x0a, namespace: feature == 5 ? 1 : 0, feature | selection << 8)
            #expect(answer?.status == 0)
            return answer?.result
        }
        let values: [(UInt32, UInt32, UInt32)] = [
            (1, 0x0102_0303, 6), (2, 0x20, 0), (4, 300, 343), (5, 7, 0), (6, 0, 1), (8, 0x0102, 0),
            (9, 1 << 16, 0), (0x0a, 1, 0), (0x0b, 0x103, 0),
        ]
        for (feature, value, initial) in values {
            for selection in 0..<3 as Range<UInt32> { #expect(get(feature, selection) == initial) }
            #expect(get(feature, 3) == (feature == 5 ? 6 : 4))
            let answer = driver.admin(0x09, namespace: feature == 5 ? 1 : 0, feature, value)
            #expect(answer?.status == 0)
            #expect(get(feature, 0) == value)
            for selection in 1..<3 as Range<UInt32> { #expect(get(feature, selection) == initial) }
            // Select has three bits; the fourth value is the last.
            #expect(driver.admin(0x0a, namespace: 1, feature | 4 << 8)?.status == 0x02)
            #expect(
                driver.admin(0x09, namespace: feature == 5 ? 1 : 0, feature | 1 << 31, value)?.status == 0x10d
            )
        }
        // None persists across a controller reset.
        driver.controller.writeRegister(0x14, 0)
        driver.enable()
        for (feature, _, initial) in values { #expect(get(feature, 0) == initial) }
    }

    @Test func wrongFields() throws {
        let driver = try driver()
        for feature in 0...0xff as ClosedRange<UInt32> where !Self.all.contains(feature) {
            #expect(driver.admin(0x0a, feature)?.status == 0x02)
            #expect(driver.admin(0x0a, feature | 0x300)?.status == 0x02)
            #expect(driver.admin(0x09, feature)?.status == 0x02)
        }
        func set(_ feature: UInt32, _ value: UInt32, namespace: UInt32 = 0) -> UInt16? {
            driver.admin(0x09, namespace: namespace, feature, value)?.status
        }
        // A power state, a sensor, a kind of threshold, a vector that there is not; DULBE.
        #expect(set(2, 1) == 0x02)
        #expect(set(4, 1 << 16 | 300) == 0x02)
        #expect(set(4, 2 << 20 | 300) == 0x02)
        #expect(set(9, 65) == 0x02)
        #expect(set(5, 1 << 16, namespace: 1) == 0x02)
        #expect(driver.admin(0x0a, 4, 1 << 16)?.status == 0x02)
        #expect(driver.admin(0x0a, 4, 1 << 20)?.result == 0)
        // Namespaces: of one feature only.
        #expect(set(5, 3, namespace: .max) == 0)
        #expect(set(5, 3, namespace: 0) == 0x0b)
        #expect(set(5, 3, namespace: 2) == 0x0b)
        #expect(driver.admin(0x0a, namespace: .max, 5)?.status == 0x0b)
        #expect(driver.admin(0x0a, namespace: 1, 5)?.result == 3)
        #expect(set(1, 0, namespace: 1) == 0x10f)
        #expect(set(1, 0, namespace: 2) == 0x0b)
        #expect(set(1, 0, namespace: .max) == 0)
        // Queues: not 65536, not after some were created.
        #expect(set(7, 0xffff) == 0x02)
        #expect(set(7, 0xffff_0000) == 0x02)
        #expect(driver.admin(0x09, 7, 0)?.result == 0x0003_0003)
        driver.createQueues()
        #expect(set(7, 0) == 0x0c)
    }
}
