import Benchmark
import Glibc
import NVMeController
import NVMeStores

/// The NVMe sample's controller: commands from a queue in memory to completions.
func nvme() {
    for (name, opcode, pages) in [("flush", 0, 0), ("read 4 KiB", 2, 1), ("write 4 KiB", 1, 1)] {
        for depth in [1, 32] {
            Benchmark("NVMe: \(name), \(depth) at a time") { benchmark in
                let driver = try QueueDriver()
                benchmark.startMeasurement()
                for _ in benchmark.scaledIterations {
                    driver.submit(depth, opcode: UInt8(opcode), pages: pages)
                    guard driver.complete(depth) else { fatalError("\(name) failed") }
                }
                benchmark.stopMeasurement()
            }
        }
    }
}

/// One queue pair of a controller with a store in memory.
///
/// Its memory: the admin queues, the I/O queues (each a page or two), then data.
final class QueueDriver: Host {
    private static let base: UInt64 = 1 << 32
    private static let size = 1 << 20
    private static let entries = 64
    private static let adminSubmission = 0, adminCompletion = 0x1000, submission = 0x2000, completion = 0x4000
    private static let data = 0x10000

    private let memory = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 4096)
    private let doorbells = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 4096)
    private var controller: NVMeController?
    private var tail = 0
    private var head = 0
    private var phase: UInt16 = 1

    init() throws {
        memory.initializeMemory(as: UInt8.self, repeating: 0, count: Self.size)
        doorbells.initializeMemory(as: UInt8.self, repeating: 0, count: 4096)
        var configuration = ControllerConfiguration()
        configuration.serialNumber = "benchmark"
        let controller = NVMeController(
            configuration, host: self, doorbells: doorbells, stores: [try MemoryStore(byteCount: 16 << 20)],
            blockSize: 512)
        self.controller = controller
        // AQA, ASQ, ACQ, CC.
        controller.writeRegister(0x24, 15 | 15 << 16)
        write64(0x28, Self.adminSubmission)
        write64(0x30, Self.adminCompletion)
        controller.writeRegister(0x14, 0x0046_0001)
        let size = UInt32(Self.entries - 1) << 16 | 1
        admin(0, opcode: 5, at: Self.completion, size, 1)
        admin(1, opcode: 1, at: Self.submission, size, 1 << 16 | 1)
    }

    deinit {
        memory.deallocate()
        doorbells.deallocate()
    }

    private func write64(_ register: Int, _ place: Int) {
        let address = Self.base + UInt64(place)
        controller?.writeRegister(register, UInt32(truncatingIfNeeded: address))
        controller?.writeRegister(register + 4, UInt32(truncatingIfNeeded: address >> 32))
    }

    private func admin(_ slot: Int, opcode: UInt32, at place: Int, _ dword10: UInt32, _ dword11: UInt32) {
        let entry = memory + Self.adminSubmission + 64 * slot
        entry.storeBytes(of: opcode | UInt32(slot) << 16, as: UInt32.self)
        entry.storeBytes(of: Self.base + UInt64(place), toByteOffset: 24, as: UInt64.self)
        entry.storeBytes(of: dword10, toByteOffset: 40, as: UInt32.self)
        entry.storeBytes(of: dword11, toByteOffset: 44, as: UInt32.self)
        ring(0, UInt32(slot + 1))
        _ = controller?.process()
        let status = (memory + Self.adminCompletion + 16 * slot).load(fromByteOffset: 14, as: UInt16.self)
        guard status == 1 else { fatalError("queue not made: status \(status >> 1)") }
    }

    private func ring(_ doorbell: Int, _ value: UInt32) {
        doorbells.storeBytes(of: value, toByteOffset: 4 * doorbell, as: UInt32.self)
    }

    /// Puts commands of one kind into the queue and rings.
    func submit(_ count: Int, opcode: UInt8, pages: Int) {
        for number in 0..<count {
            let entry = memory + Self.submission + 64 * tail
            entry.storeBytes(of: UInt32(opcode) | UInt32(number) << 16, as: UInt32.self)
            entry.storeBytes(of: 1, toByteOffset: 4, as: UInt32.self)
            entry.storeBytes(
                of: Self.base + UInt64(Self.data + 4096 * number), toByteOffset: 24, as: UInt64.self)
            entry.storeBytes(of: UInt64(8 * number), toByteOffset: 40, as: UInt64.self)
            entry.storeBytes(of: UInt32(max(8 * pages, 1) - 1), toByteOffset: 48, as: UInt32.self)
            tail = (tail + 1) % Self.entries
        }
        ring(2, UInt32(tail))
    }

    /// Has them carried out, and takes the completions: whether all succeeded.
    func complete(_ count: Int) -> Bool {
        var taken = 0
        var turns = 0
        while taken < count, turns < 1000 {
            _ = controller?.process()
            turns += 1
            while taken < count {
                let status = (memory + Self.completion + 16 * head).load(fromByteOffset: 14, as: UInt16.self)
                guard status & 1 == phase else { break }
                guard status >> 1 == 0 else { return false }
                head += 1
                if head == Self.entries {
                    head = 0
                    phase ^= 1
                }
                taken += 1
            }
        }
        ring(3, UInt32(head))
        return taken == count
    }

    // MARK: Host

    func window(at address: UInt64) -> MemoryWindow {
        guard address >= Self.base, address - Self.base < UInt64(Self.size) else { return .none }
        return unsafe MemoryWindow(
            first: Self.base, count: UInt64(Self.size), base: memory, isReadable: true, isWritable: true)
    }

    // All of the memory is in the window.
    func read(_ address: UInt64, into target: UnsafeMutableRawPointer, count: Int) -> Bool { false }
    func write(_ address: UInt64, from source: UnsafeRawPointer, count: Int) -> Bool { false }
    var tracksWrites: Bool { false }
    func wrote(_ address: UInt64, _ count: Int) {}
    func signal(vector: UInt16) {}
    func withdraw() -> Bool { true }
    var hasVectors: Bool { true }
}
