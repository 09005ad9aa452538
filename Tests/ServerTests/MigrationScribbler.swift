import Glibc
import SystemPackage
import VFIOUserAddressSpace

@testable import VFIOUserServer

/// Memory that a ``Scribbler`` works on, from address 0 on.
protocol ScribbleMemory {
    var size: Int { get }
    func load(_ address: Int, _ count: Int) throws(Errno) -> [UInt8]
    mutating func store(_ bytes: [UInt8], at address: Int) throws(Errno)
}

/// Work whose every step depends on what its memory and its state have become by all steps before: whatever a
/// migration loses shows sooner or later.
struct Scribbler: Equatable {
    static let pageSize = 4096
    static let pageCount = 48

    /// The state that is moved at the end, and in pages the state that can be moved in advance.
    var seed: UInt64
    var steps: UInt64 = 0
    var pages = [[UInt8]](repeating: [UInt8](repeating: 0, count: pageSize), count: pageCount)

    init(seed: UInt64) { self.seed = seed }

    /// Returns the page that changed.
    mutating func step<Memory: ScribbleMemory>(_ memory: inout Memory) throws(Errno) -> Int {
        var random = SeededGenerator(seed: seed)
        let count = Int(random.next() % 600) + 1
        // Half of it on few pages, as programs do.
        let span = random.next() % 2 == 0 ? memory.size : memory.size / 16
        let source = Int(random.next() % UInt64(memory.size - count))
        let target = Int(random.next() % UInt64(span - count))
        let page = Int(random.next() % UInt64(Self.pageCount))
        var bytes = try memory.load(source, count)
        var sum: UInt64 = 0
        for place in bytes.indices {
            let mixed = bytes[place] &+ pages[page][place] &+ UInt8(truncatingIfNeeded: random.next())
            bytes[place] = mixed
            pages[page][place] ^= mixed
            sum = sum &* 31 &+ UInt64(mixed)
        }
        try memory.store(bytes, at: target)
        seed = random.next() ^ sum
        steps += 1
        return page
    }
}

/// A model's memory.
struct ScribbleArray: ScribbleMemory {
    var bytes: [UInt8]
    var size: Int { bytes.count }

    func load(_ address: Int, _ count: Int) throws(Errno) -> [UInt8] {
        Array(bytes[address..<address + count])
    }

    mutating func store(_ new: [UInt8], at address: Int) throws(Errno) {
        bytes.replaceSubrange(address..<address + new.count, with: new)
    }
}

/// A client's memory.
struct ScribbleGuest: ScribbleMemory {
    let server: DeviceServer
    let base: UInt64
    let size: Int

    func load(_ address: Int, _ count: Int) throws(Errno) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        try transfer(address, &bytes, .read)
        return bytes
    }

    mutating func store(_ new: [UInt8], at address: Int) throws(Errno) {
        var bytes = new
        try transfer(address, &bytes, .write)
    }

    private func transfer(_ address: Int, _ bytes: inout [UInt8], _ rights: AccessRights) throws(Errno) {
        let entries = try server.entries(base + UInt64(address), UInt64(bytes.count), rights)
        var done = 0
        try unsafe bytes.withUnsafeMutableBufferPointer { (buffer) throws(Errno) in
            for entry in entries {
                // The entries' lengths add up to the array's.
                guard let place = unsafe buffer.baseAddress.map({ unsafe $0 + done }) else { return }
                if rights == .write {
                    try unsafe server.write(entry, from: place, directly: true)
                } else {
                    try unsafe server.read(entry, into: place, directly: true)
                }
                done += Int(entry.length)
            }
        }
    }
}

/// A device that scribbles into its client's memory all the time, on a thread of its own if it has one.
///
/// Its stream of state is made of records: page number and page, in any order, the last one of a page counts; then
/// `UInt32.max`, seed and steps.
final class ScribblingDevice: MigratableDevice {
    /// What the thread and the server's callbacks share.
    struct Shared {
        var scribbler: Scribbler
        var isRunning = true
        var isQuiesced = false
        var isEnding = false
        /// Pages whose present content has not been put into the stream.
        var changed = Set(0..<Scribbler.pageCount)
    }

    let shared: Locked<Shared>
    /// Of the stream, not read yet.
    private var outgoing: [UInt8] = []
    private var incoming: [UInt8] = []
    private var isRestored = false

    init(seed: UInt64) { shared = Locked(Shared(scribbler: Scribbler(seed: seed))) }

    /// Some steps, if it may. Returns whether it did any.
    func work(_ count: Int, _ memory: inout ScribbleGuest) -> Bool {
        shared.withLock { shared in
            guard shared.isRunning, !shared.isQuiesced else { return false }
            for _ in 0..<count {
                guard let page = try? shared.scribbler.step(&memory) else { return false }
                shared.changed.insert(page)
            }
            return true
        }
    }

    func quiesce(on server: DeviceServer) throws(Errno) -> QuiesceState {
        shared.withLock { $0.isQuiesced = true }
        return .quiesced
    }

    /// The server's call is over.
    func resume() { shared.withLock { $0.isQuiesced = false } }

    func enter(_ state: MigrationState, on server: DeviceServer) throws(Errno) {
        if state == .resuming { isRestored = false }
        if state == .running || state == .preCopy {
            // A state that has not come whole is none.
            guard incoming.isEmpty || isRestored else { throw .invalidArgument }
        }
        shared.withLock { shared in
            shared.isRunning = state == .running || state == .preCopy
            if state == .preCopy { shared.changed = Set(0..<Scribbler.pageCount) }
            if state == .preCopy || state == .stopCopy { takeChanges(&shared) }
            if state == .stopCopy {
                outgoing += bytes(UInt32.max) + bytes(shared.scribbler.seed)
                outgoing += bytes(shared.scribbler.steps)
            }
        }
    }

    private func takeChanges(_ shared: inout Shared) {
        for page in shared.changed {
            outgoing += bytes(UInt32(page)) + shared.scribbler.pages[page]
        }
        shared.changed = []
    }

    func saveState(into data: inout OutputRawSpan, on server: DeviceServer) throws(Errno) {
        if outgoing.isEmpty, server.migrationState == .preCopy { shared.withLock { takeChanges(&$0) } }
        let count = min(outgoing.count, data.freeCapacity)
        for byte in outgoing[..<count] { data.append(byte) }
        outgoing.removeFirst(count)
    }

    func restoreState(from data: RawSpan, on server: DeviceServer) throws(Errno) {
        // The span's bytes, copied.
        incoming += unsafe data.withUnsafeBytes { unsafe Array($0) }
        while !isRestored, incoming.count >= 4 {
            let page: UInt32 = integer(incoming[0..<4])
            let length = page == .max ? 16 : Scribbler.pageSize
            guard incoming.count >= 4 + length else { return }
            let body = incoming[4..<4 + length]
            if page == .max {
                shared.withLock { shared in
                    shared.scribbler.seed = integer(body.prefix(8))
                    shared.scribbler.steps = integer(body.suffix(8))
                }
                isRestored = true
            } else {
                guard page < Scribbler.pageCount else { throw .invalidArgument }
                shared.withLock { $0.scribbler.pages[Int(page)] = Array(body) }
            }
            incoming.removeFirst(4 + length)
        }
    }
}

private func integer<Value: FixedWidthInteger>(_ bytes: ArraySlice<UInt8>) -> Value {
    bytes.reversed().reduce(0) { $0 << 8 | Value($1) }
}
