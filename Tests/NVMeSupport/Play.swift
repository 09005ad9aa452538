import NVMeController
import NVMeStores
import SystemPackage

/// A client that does whatever bytes tell it: commands right and wrong on several queues, doorbells, registers, lists in
/// memory, memory that goes away and comes back. Used by a test with random bytes and by a fuzzer.
///
/// Nothing may trap, nothing may be written where the device may not write, and a reset must help.
///
/// Unsafe inside: the page of doorbells, which lives as long as the controller.
@safe
package final class Play {
    private var input: Input
    private let host = FakeHost()
    private let controller: NVMeController
    private let late: LateStore
    private let doorbells: UnsafeMutableRawPointer
    private var tails: [UInt64] = [0, 0, 0, 0]
    /// What was in the memory that the device cannot write.
    private var protected: [UInt8] = []
    private var isSpoiled = false

    private static let entries: UInt64 = 16
    private static let data = FakeHost.base + 4 << 20
    private static let pages: UInt64 = 64

    package init(_ bytes: [UInt8]) throws {
        input = Input(bytes)
        var configuration = ControllerConfiguration()
        configuration.queuePairs = 3
        configuration.slots = 8
        configuration.isPolled = input.byte() & 1 == 0
        unsafe doorbells = .allocate(byteCount: 4096, alignment: 4096)
        unsafe doorbells.initializeMemory(as: UInt32.self, repeating: 0, count: 1024)
        late = try LateStore(byteCount: 1 << 18)
        unsafe controller = NVMeController(
            configuration, host: host, doorbells: doorbells,
            stores: [
                try MemoryStore(byteCount: 1 << 18), late,
                try MemoryStore(byteCount: 1 << 16, isReadOnly: true),
            ],
            blockSize: 512)
        host.controller = controller
        host.mode = FakeHost.Mode.allCases[Int(input.byte() % 3)]
        host.hasVectors = input.byte() & 1 == 0
        enable()
    }

    deinit { unsafe doorbells.deallocate() }

    /// Plays all of it.
    ///
    /// - Returns: what was wrong; `nil`: nothing.
    package func run() -> String? {
        var steps = 0
        while !input.isEmpty, steps < 2000 {
            step()
            steps += 1
        }
        protect(0..<0, 0..<0)
        guard !isSpoiled else { return "memory was written that the device may not write" }
        late.isHeld = false
        late.failure = nil
        host.failingCopies = 0
        host.crossingWrites = []
        host.interruptedCopies = 0..<0
        // A reset that waits for the store ends, and so does a format: commands of before, zeros, a flush.
        for _ in 0..<6 { controller.process() }
        host.mode = .direct
        controller.memoryChanged()
        enable()
        guard !controller.isBusy else { return "something is pending after a reset" }
        submit(0, opcode: 6, at: Self.data, 1, 0)
        controller.process()
        guard host.word(Self.queue(0) + 0x8008) >> 48 == 1 else { return "no success after a reset" }
        return controller.readRegister(0x1c) == 1
            ? nil : "status \(controller.readRegister(0x1c)) after a reset"
    }

    private static func queue(_ number: Int) -> UInt64 { FakeHost.base + UInt64(number) * 0x10000 }

    private func enable() {
        controller.writeRegister(0x14, 0)
        tails = [0, 0, 0, 0]
        for queue in 0..<4 {
            put([UInt8](repeating: 0, count: 0x1000), at: Self.queue(queue))
            put([UInt8](repeating: 0, count: 0x1000), at: Self.queue(queue) + 0x8000)
        }
        controller.writeRegister(0x24, UInt32(Self.entries - 1) * 0x10001)
        for (offset, address) in [(0x28, Self.queue(0)), (0x30, Self.queue(0) + 0x8000)] {
            controller.writeRegister(offset, UInt32(truncatingIfNeeded: address))
            controller.writeRegister(offset + 4, UInt32(truncatingIfNeeded: address >> 32))
        }
        controller.writeRegister(0x14, 0x0046_0001)
    }

    /// Puts a command into a queue and rings.
    private func submit(
        _ queue: Int, opcode: UInt32, namespace: UInt32 = 0, at first: UInt64, second: UInt64 = 0,
        _ dwords: UInt32...
    ) {
        var entry = [UInt8](repeating: 0, count: 64)
        entry.put(opcode, at: 0)
        entry.put(namespace, at: 4)
        entry.put(first, at: 24)
        entry.put(second, at: 32)
        for (index, dword) in dwords.enumerated() { entry.put(dword, at: 40 + index * 4) }
        put(entry, at: Self.queue(queue) + tails[queue] * 64)
        tails[queue] = (tails[queue] + 1) % Self.entries
        ring(2 * queue, UInt32(tails[queue]))
    }

    private func ring(_ doorbell: Int, _ value: UInt32) {
        unsafe doorbells.storeBytes(of: value, toByteOffset: 4 * doorbell, as: UInt32.self)
    }

    // MARK: What bytes mean

    private func step() {
        switch input.byte() % 26 {
        case 0...8: command()
        case 9, 10: createQueues()
        case 11...14: controller.process()
        case 15: ring(Int(input.byte()) * 4 % 1024, input.value32())
        case 16: takeAll()
        case 17, 18: list()
        case 19: register()
        case 20: changeMemory()
        case 21: host.failingCopies = Int(input.byte() % 8)
        case 22: late.isHeld = input.byte() & 1 == 0
        case 23: host.crossingWrites = (0..<Int(input.byte() & 3)).map { _ in registerWrite() }
        case 24:
            let first = Int(input.byte() % 8)
            host.interruptedCopies = first..<first + Int(input.byte() % 8)
        default: late.failure = [nil, nil, .ioError, .noSpace][Int(input.byte() & 3)]
        }
    }

    private func command() {
        let head = input.byte()
        let queue = Int(head & 3)
        let opcodes: [UInt32] = [0, 1, 2, 4, 5, 6, 8, 9, 0x0a, 0x0c, 0x7c, 0x80]
        var opcode = head & 0xc0 == 0xc0 ? UInt32(input.byte()) : opcodes[Int(head >> 2) % opcodes.count]
        let pointer = input.byte()
        if pointer & 7 == 0 { opcode |= UInt32(pointer) << 8 }
        if pointer & 0x30 == 0x30 { opcode |= 0x4000 }
        let second = opcode & 0x4000 != 0 ? descriptorRest() : input.address()
        submit(
            queue, opcode: opcode | UInt32(input.byte()) << 16,
            namespace: pointer & 0x40 == 0 ? UInt32(pointer >> 7) + 1 : input.value32(), at: input.address(),
            second: second, input.value32(), pointer & 8 == 0 ? 0 : input.value32(), input.value32(),
            input.value32())
    }

    private func descriptorRest() -> UInt64 {
        let lengths: [UInt64] = [512, 16, 32, 4096, 48, 1024, 511, 0]
        let byte = input.byte()
        return lengths[Int(byte & 7)] | UInt64(byte >> 3 & 3) << 60 | UInt64(byte >= 0xf8 ? byte : 0) << 56
    }

    private func createQueues() {
        let queue = Int(input.byte() % 3) + 1
        let size = UInt32(Self.entries - 1) << 16 | UInt32(queue)
        put([UInt8](repeating: 0, count: 0x1000), at: Self.queue(queue) + 0x8000)
        submit(0, opcode: 5, at: Self.queue(queue) + 0x8000, size, input.byte() & 1 == 0 ? 1 : 3)
        submit(0, opcode: 1, at: Self.queue(queue), size, UInt32(queue) << 16 | 1)
        controller.process()
        tails[queue] = 0
    }

    /// As if all completions had been taken, whatever they were.
    private func takeAll() {
        let queue = Int(input.byte() & 3)
        ring(2 * queue + 1, UInt32(input.byte()) % UInt32(Self.entries + 1))
        controller.interruptServiced()
    }

    /// Pointers or descriptors into a page of the data.
    private func list() {
        let count = Int(input.byte() % 16)
        let place = Self.data + UInt64(input.byte()) % Self.pages * 4096
        let isSGL = input.byte() & 1 == 0
        var list = [UInt8](repeating: 0, count: count * 16)
        for index in 0..<count {
            list.put(input.address(), at: isSGL ? index * 16 : index * 8)
            if isSGL { list.put(descriptorRest(), at: index * 16 + 8) }
        }
        put(list, at: place)
    }

    private func register() {
        let write = registerWrite()
        controller.writeRegister(write.offset, write.value)
        _ = controller.readRegister(Int(input.byte()) * 4)
        // Another queue than the one that commands are put into is no use for long.
        if controller.readRegister(0x1c) & 1 == 0 || input.byte() & 3 == 0 { enable() }
    }

    private func registerWrite() -> (offset: Int, value: UInt32) {
        let offsets = [
            0x0c, 0x10, 0x14, 0x14, 0x24, 0x28, 0x2c, 0x30, 0x34, 0x1000, 0x1008, 0x100c, 0x20, 0x1ffc,
        ]
        let offset = offsets[Int(input.byte()) % offsets.count]
        let values: [UInt32] = [0x0046_0001, 0, 0x0046_4001, 0x0046_0081, 0x0046_8001]
        return (offset, offset == 0x14 ? values[Int(input.byte()) % values.count] : input.value32())
    }

    /// As a server does: the device is quiesced, memory changes, the device is told.
    private func changeMemory() {
        controller.pause()
        // The server sends no messages meanwhile.
        host.interruptedCopies = 0..<Int.max
        late.isHeld = false
        while controller.isBusy { controller.process() }
        let first = Self.data + UInt64(input.byte()) % Self.pages * 4096
        let second = FakeHost.base + UInt64(input.byte()) % 8 * 0x8000
        switch input.byte() % 4 {
        case 0: protect(first..<first + 0x3000, 0..<0)
        case 1: protect(0..<0, first..<first + 0x3800)
        case 2: protect(0..<0, second..<second + 0x1000)
        default: protect(0..<0, 0..<0)
        }
        controller.memoryChanged()
        controller.resume()
        host.interruptedCopies = 0..<0
    }

    private func protect(_ readOnly: Range<UInt64>, _ hidden: Range<UInt64>) {
        expectUntouched()
        host.readOnly = readOnly
        host.hidden = hidden
        protected = contents
    }

    /// What the client itself puts there is not the device's doing.
    private func put(_ bytes: [UInt8], at address: UInt64) {
        expectUntouched()
        host.put(bytes, at: address)
        protected = contents
    }

    private func expectUntouched() {
        if protected != contents { isSpoiled = true }
    }

    private var contents: [UInt8] {
        host.bytes(host.readOnly.lowerBound, host.readOnly.count)
            + host.bytes(host.hidden.lowerBound, host.hidden.count)
    }

}

/// Bytes taken piece by piece; zeros when they are used up.
private struct Input {
    private let bytes: [UInt8]
    private var position = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    var isEmpty: Bool { position >= bytes.count }

    mutating func byte() -> UInt8 {
        guard position < bytes.count else { return 0 }
        defer { position += 1 }
        return bytes[position]
    }

    /// A small number, one of the largest, or any.
    mutating func value32() -> UInt32 {
        let first = byte()
        switch first >> 6 {
        case 0, 1: return UInt32(first & 0x3f)
        case 2: return UInt32(first & 0x3f) << 16 | UInt32(byte())
        default:
            return first & 0x20 == 0 ? .max - UInt32(first & 0x1f) : UInt32(byte()) << 24 | UInt32(byte())
        }
    }

    /// An address: mostly of the data, often aligned.
    mutating func address() -> UInt64 {
        let first = byte()
        let page = FakeHost.base + 4 << 20 + UInt64(byte() & 63) * 4096
        switch first >> 4 {
        case 0...7: return page
        case 8...10: return page + UInt64(first & 15) * 8
        case 11: return page + 0xff8
        case 12: return page + UInt64(first & 15) * 273
        case 13: return FakeHost.base + UInt64(FakeHost.size) - UInt64(first & 15) * 512
        case 14: return UInt64.max - UInt64(first & 15) * 1024
        default: return UInt64(first & 15)
        }
    }
}

extension [UInt8] {
    fileprivate mutating func put(_ value: some FixedWidthInteger, at place: Int) {
        for byte in 0..<value.bitWidth / 8 {
            self[place + byte] = UInt8(truncatingIfNeeded: value >> (8 * byte))
        }
    }
}
