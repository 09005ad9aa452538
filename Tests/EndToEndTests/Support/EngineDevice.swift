import Synchronization
import SystemPackage
import VFIOUserClient
import VFIOUserServer

/// A device that copies between client memory and a buffer of its own.
///
/// BAR0 holds registers, BAR1 the buffer, BAR2 memory of which parts can be mapped.
final class EngineDevice: Device {
    /// Offsets in BAR0. Everything else in it is plain memory.
    enum Register {
        /// 64 bits: where in client memory, and how many bytes.
        static let address: UInt64 = 0x00
        static let count: UInt64 = 0x08
        /// 32 bits: the MSI-X vector that tells of a command's end, from 1 on; 0: none.
        static let vector: UInt64 = 0x10
        /// 32 bits: a write begins a command.
        static let command: UInt64 = 0x18
        /// 32 bits: the errno of the last command, 0 of success.
        static let status: UInt64 = 0x1c
        /// 64 bits: how many commands there were.
        static let commands: UInt64 = 0x20
        /// 32 bits: how often it was quiesced, and was reset.
        static let quiesces: UInt64 = 0x28
        static let resets: UInt64 = 0x2c
        /// 32 bits: how it answers when it is to quiesce: 0 at once, 1 later, others: that errno.
        static let quiesceMode: UInt64 = 0x30
        /// 32 bits: client memory that it sees: regions.
        static let regions: UInt64 = 0x34
        /// Where notifications stand for writes.
        static let notified: UInt64 = 0x100
        static let shadowed: UInt64 = 0x108
    }

    /// What a command does; added to it, how.
    enum Command {
        static let load: UInt32 = 1
        static let store: UInt32 = 2
        /// Loads, flips all bits, stores.
        static let flip: UInt32 = 3
        static let byMessage: UInt32 = 0x100
    }

    static let registerCount = 0x10000
    static let bufferCount = 1 << 20
    static let sharedCount = 0x10000
    static let areas = [Region.Area(offset: 0x1000, size: 0x1000), Region.Area(offset: 0x4000, size: 0x2000)]

    /// What BAR2 shows.
    let shared: DMAMemory
    private var registers = [UInt8](repeating: 0, count: registerCount)
    private var buffer = [UInt8](repeating: 0, count: bufferCount)

    init() throws { shared = try DMAMemory(count: Self.sharedCount) }

    /// What ``Host`` needs to run it.
    func configure(_ server: DeviceServer) throws {
        try server.initializePCI(.express)
        try server.setIdentity(PCIIdentity(vendor: 0x1af4, device: 0x1110))
        try server.setRegion(
            .bar0, Region(size: UInt64(Self.registerCount), flags: [.readWrite, .memory]))
        try server.setRegion(.bar1, Region(size: UInt64(Self.bufferCount), flags: [.readWrite, .memory]))
        try server.setRegion(
            .bar2,
            Region(
                size: UInt64(Self.sharedCount), flags: [.readWrite, .memory], file: shared.file?.descriptor,
                mappableAreas: Self.areas))
        try server.setInterruptCount(.intx, 1)
        try server.setInterruptCount(.msi, 4)
        try server.setInterruptCount(.msix, 8)
        try server.enableDMA()
    }

    // MARK: Device

    func read(
        _ region: RegionIndex, at offset: UInt64, into data: inout MutableRawSpan, on server: DeviceServer
    ) throws(Errno) {
        let place = Int(offset)
        let bytes: [UInt8]
        switch region {
        case .bar0: bytes = Array(registers[place..<place + data.byteCount])
        case .bar1: bytes = Array(buffer[place..<place + data.byteCount])
        case .bar2: bytes = try shared.read(at: place, count: data.byteCount)
        default: throw .invalidArgument
        }
        for index in bytes.indices { data.storeBytes(of: bytes[index], toByteOffset: index, as: UInt8.self) }
    }

    func write(
        _ region: RegionIndex, at offset: UInt64, from data: RawSpan, on server: DeviceServer
    ) throws(Errno) {
        // Any byte is a valid UInt8.
        let bytes = unsafe data.withUnsafeBytes { unsafe [UInt8]($0) }
        let place = Int(offset)
        switch region {
        case .bar0:
            registers.replaceSubrange(place..<place + bytes.count, with: bytes)
            if offset == Register.command { carryOut(server) }
        case .bar1: buffer.replaceSubrange(place..<place + bytes.count, with: bytes)
        case .bar2: try shared.write(bytes, at: place)
        default: throw .invalidArgument
        }
    }

    func quiesce(on server: DeviceServer) throws(Errno) -> QuiesceState {
        self[Register.quiesces] += 1 as UInt32
        switch self[Register.quiesceMode] as UInt32 {
        case 0: return .quiesced
        case 1: return .pending
        case let number:
            self[Register.quiesceMode] = 0 as UInt32
            throw Errno(rawValue: CInt(number))
        }
    }

    func reset(_ kind: ResetKind, on server: DeviceServer) throws(Errno) {
        self[Register.resets] += 1 as UInt32
    }

    func dmaRegionAdded(_ region: DMARegion, on server: DeviceServer) {
        self[Register.regions] += 1 as UInt32
    }

    func dmaRegionRemoved(_ region: DMARegion, on server: DeviceServer) {
        self[Register.regions] -= 1 as UInt32
    }

    // MARK: Commands

    private subscript<Value: FixedWidthInteger>(_ offset: UInt64) -> Value {
        get { Value(bytes: registers[Int(offset)..<Int(offset) + Value.bitWidth / 8]) }
        set {
            registers.replaceSubrange(Int(offset)..<Int(offset) + Value.bitWidth / 8, with: newValue.bytes)
        }
    }

    private func carryOut(_ server: DeviceServer) {
        var status: CInt = 0
        do throws(Errno) { try copy(server) } catch { status = error.rawValue }
        self[Register.status] = UInt32(status)
        self[Register.commands] += 1 as UInt64
        let vector: UInt32 = self[Register.vector]
        if vector > 0 { try? server.triggerInterrupt(vector - 1) }
    }

    private func copy(_ server: DeviceServer) throws(Errno) {
        let command: UInt32 = self[Register.command]
        let address: UInt64 = self[Register.address]
        let count = min(Int(truncatingIfNeeded: self[Register.count] as UInt64), buffer.count)
        let directly = command & Command.byMessage == 0
        switch command & 0xff {
        case Command.load:
            let bytes = try server.load(address, count: count, directly: directly)
            buffer.replaceSubrange(0..<count, with: bytes)
        case Command.store:
            try server.store(Array(buffer.prefix(count)), at: address, directly: directly)
        case Command.flip:
            let bytes = try server.load(address, count: count, directly: directly)
            try server.store(bytes.map { ~$0 }, at: address, directly: directly)
        default: throw .notSupported
        }
    }
}

/// The device as its driver sees it.
extension Client {
    /// Runs a command.
    ///
    /// - Returns: nil if it succeeded.
    func engine(_ command: UInt32, _ address: UInt64, _ count: Int) throws -> Errno? {
        typealias Register = EngineDevice.Register
        try write(address, to: .bar0, at: Register.address)
        try write(UInt64(count), to: .bar0, at: Register.count)
        try write(command, to: .bar0, at: Register.command)
        let status: UInt32 = try read(.bar0, at: Register.status)
        return status == 0 ? nil : Errno(rawValue: CInt(status))
    }

    /// Bytes of client memory as the device sees them; nil if it does not.
    func deviceView(_ address: UInt64, _ count: Int, byMessage: Bool = false) throws -> [UInt8]? {
        let how = byMessage ? EngineDevice.Command.byMessage : 0
        guard try engine(EngineDevice.Command.load | how, address, count) == nil else { return nil }
        return try read(.bar1, at: 0, count: count)
    }

    /// Has the device write to client memory.
    func deviceWrite(_ bytes: [UInt8], _ address: UInt64, byMessage: Bool = false) throws -> Errno? {
        try write(bytes, to: .bar1, at: 0)
        let how = byMessage ? EngineDevice.Command.byMessage : 0
        return try engine(EngineDevice.Command.store | how, address, bytes.count)
    }

    /// One of the device's counters.
    func counter(_ register: UInt64) throws -> UInt32 { try read(.bar0, at: register) }
}
