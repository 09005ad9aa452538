import SystemPackage
import VFIOUserServer

/// A device that keeps what is written to its BARs, records what happens to it, and does what a test asks.
final class TestDevice: Device {
    enum Event: Equatable {
        case read(RegionIndex, UInt64, Int)
        case write(RegionIndex, UInt64, [UInt8])
        case quiesce
        case reset(ResetKind)
        case added(UInt64, UInt64)
        case removed(UInt64, UInt64)
        case masked(InterruptKind, Range<UInt32>, Bool)
    }

    /// What happened, oldest first.
    var events: [Event] = []
    /// Contents of the regions that were written to.
    var memory: [RegionIndex: [UInt8]] = [:]
    /// Answers to the next questions whether it is quiesced; after them, it is.
    var quiesceAnswers: [Result<QuiesceState, Errno>] = []
    /// Thrown by the next accesses.
    var accessErrors: [Errno] = []
    /// Thrown by every reset.
    var resetError: Errno?

    // Called in the middle of what the name says.
    var duringRead: ((DeviceServer) throws(Errno) -> Void)?
    var duringWrite: ((DeviceServer) throws(Errno) -> Void)?
    var duringQuiesce: ((DeviceServer) -> Void)?
    var duringReset: ((DeviceServer) -> Void)?
    var duringAdd: ((DMARegion, DeviceServer) -> Void)?
    var duringRemove: ((DMARegion, DeviceServer) -> Void)?

    /// For the end of a test that asked for something that holds the device.
    func forgetHooks() {
        (duringRead, duringWrite, duringQuiesce, duringReset) = (nil, nil, nil, nil)
        (duringAdd, duringRemove) = (nil, nil)
    }

    /// The events, which are then forgotten.
    func takeEvents() -> [Event] {
        defer { events = [] }
        return events
    }

    private func storage(_ region: RegionIndex, upTo end: Int) -> [UInt8] {
        let bytes = memory[region] ?? []
        return bytes.count >= end ? bytes : bytes + [UInt8](repeating: 0, count: end - bytes.count)
    }

    func read(
        _ region: RegionIndex, at offset: UInt64, into data: inout MutableRawSpan, on server: DeviceServer
    ) throws(Errno) {
        events.append(.read(region, offset, data.byteCount))
        try duringRead?(server)
        if !accessErrors.isEmpty { throw accessErrors.removeFirst() }
        let bytes = storage(region, upTo: Int(offset) + data.byteCount)
        for place in 0..<data.byteCount {
            data.storeBytes(of: bytes[Int(offset) + place], toByteOffset: place, as: UInt8.self)
        }
    }

    func write(
        _ region: RegionIndex, at offset: UInt64, from data: RawSpan, on server: DeviceServer
    ) throws(Errno) {
        // Any byte is a valid UInt8.
        let bytes = unsafe data.withUnsafeBytes { unsafe [UInt8]($0) }
        events.append(.write(region, offset, bytes))
        try duringWrite?(server)
        if !accessErrors.isEmpty { throw accessErrors.removeFirst() }
        var contents = storage(region, upTo: Int(offset) + bytes.count)
        contents.replaceSubrange(Int(offset)..<Int(offset) + bytes.count, with: bytes)
        memory[region] = contents
    }

    func quiesce(on server: DeviceServer) throws(Errno) -> QuiesceState {
        events.append(.quiesce)
        duringQuiesce?(server)
        guard !quiesceAnswers.isEmpty else { return .quiesced }
        return try quiesceAnswers.removeFirst().get()
    }

    func reset(_ kind: ResetKind, on server: DeviceServer) throws(Errno) {
        events.append(.reset(kind))
        duringReset?(server)
        if let resetError { throw resetError }
    }

    func dmaRegionAdded(_ region: DMARegion, on server: DeviceServer) {
        events.append(.added(region.address, region.size))
        duringAdd?(region, server)
    }

    func dmaRegionRemoved(_ region: DMARegion, on server: DeviceServer) {
        events.append(.removed(region.address, region.size))
        duringRemove?(region, server)
    }

    func interruptsMasked(
        _ kind: InterruptKind, vectors: Range<UInt32>, masked: Bool, on server: DeviceServer
    ) {
        events.append(.masked(kind, vectors, masked))
    }
}

extension TestDevice {
    /// A server for this device: PCI Express with function-level reset at ``deviceControl``; a BAR0 of 4 KiB, a BAR1
    /// of 256 bytes of I/O, a BAR2 of 2 MiB; 1 INTx, 4 MSI and 8 MSI-X vectors; 16 DMA regions.
    func server(at endpoint: Endpoint, waiting: WaitingMode = .polling) throws(Errno) -> DeviceServer {
        let server = try DeviceServer(self, at: endpoint, waiting: waiting)
        try server.initializePCI(.express)
        try server.setIdentity(PCIIdentity(vendor: 0x1af4, device: 0x1110))
        try server.addCapability(.express(functionLevelReset: true), at: Self.expressOffset)
        try server.setRegion(.bar0, Region(size: 4096, flags: [.readWrite, .memory]))
        try server.setRegion(.bar1, Region(size: 256, flags: .readWrite))
        try server.setRegion(.bar2, Region(size: 2 << 20, flags: [.readWrite, .memory]))
        try server.setInterruptCount(.intx, 1)
        try server.setInterruptCount(.msi, 4)
        try server.setInterruptCount(.msix, 8)
        try server.enableDMA(maxRegions: 16)
        return server
    }

    static let expressOffset = 0x40
    /// The register whose writes quiesce the device.
    static let deviceControl = UInt64(expressOffset + 8)
}
