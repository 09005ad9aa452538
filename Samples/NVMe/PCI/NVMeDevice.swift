package import NVMeController
package import VFIOUserServer

/// The controller as a PCI device: BAR0 with registers and doorbells, BAR4 with the tables of MSI-X.
///
/// Where client memory is reached by messages, registers may be read and written in the middle of that, as QEMU answers
/// no message while one of its processors waits for an access. The controller allows it between any two of its steps; what
/// it was doing when such a write resets it has failed. What has to wait for the device to be quiesced interrupts the
/// controller's turn, and what it was doing then is done again.
///
/// Unsafe inside: pointers go to and from the controller and the server's client memory, each with its length.
@safe
package final class NVMeDevice: Device, Host {
    private let doorbells: DoorbellPage
    private var doorbellMode = DoorbellMode.trap
    /// Signalled by the client's doorbells, and for how many of them.
    private var notifier: (file: FileDescriptor, count: Int)?
    private var controllerStorage: NVMeController?
    /// The server, which outlives every call.
    private unowned(unsafe) var server: DeviceServer?
    /// In memory of its own: every command looks there, and it checks no exclusivity.
    private let memoryStorage: UnsafeMutablePointer<ClientMemory?>
    private var memory: ClientMemory? { unsafe memoryStorage.pointee }
    private var msixOffset = 0
    /// The tables, for clients that want them there. Interrupts go by eventfd.
    private var tables = [UInt8](repeating: 0, count: NVMeDevice.tableSize)
    /// The server waits until stores have nothing pending.
    private var isQuiescing = false
    /// INTx was unmasked: looked at when the requests that came with it are done.
    package var wasUnmasked = false

    static let tableSize = 0x2000
    static let pendingBitsOffset = 0x1000
    static let barSize = 0x4000
    package init() throws(Errno) {
        doorbells = try DoorbellPage()
        unsafe memoryStorage = .allocate(capacity: 1)
        unsafe memoryStorage.initialize(to: nil)
        unsafe server = nil
    }

    deinit { unsafe memoryStorage.deallocate() }

    /// Makes the controller, and declares all that clients see of it.
    package func setUp(
        on server: DeviceServer, _ configuration: ControllerConfiguration, stores: [any BackingStore],
        blockSize: Int, doorbellMode: DoorbellMode, notifier: FileDescriptor?
    ) throws(Errno) -> NVMeController {
        // The page has 4096 bytes and lives as long as this object, which keeps the controller.
        let controller = unsafe NVMeController(
            configuration, host: self, doorbells: doorbells.memory, stores: stores, blockSize: blockSize)
        controllerStorage = controller
        self.doorbellMode = doorbellMode
        self.notifier = notifier.map { ($0, 2 * (configuration.queuePairs + 1)) }
        unsafe self.server = server
        try server.initializePCI(.express)
        try server.setIdentity(
            PCIIdentity(
                vendor: configuration.vendor, device: 0x0001, subsystemVendor: configuration.vendor,
                subsystem: 0x0001))
        try server.setClass(.nvme)
        try server.addCapability(.powerManagement())
        try server.addCapability(.express(functionLevelReset: true))
        msixOffset = try server.addCapability(
            .msix(
                vectors: configuration.vectors, table: .init(bar: 4, offset: 0),
                pendingBits: .init(bar: 4, offset: UInt32(Self.pendingBitsOffset))))
        try declareDoorbells(on: server)
        try server.setRegion(.bar4, Region(size: UInt64(Self.tableSize), flags: [.readWrite, .memory]))
        try server.setInterruptCount(.intx, 1)
        try server.setInterruptCount(.msix, UInt32(configuration.vectors))
        try server.enableDMA()
        // For QEMU with memory that it does not share: see the class.
        server.answersWhileWaiting = true
        server.largestDMARead = 32 << 10
        unsafe memoryStorage.pointee = server.clientMemory
        return controller
    }

    /// Declares BAR0 with the present page of doorbells: as what clients may map, or with one eventfd for all doorbells,
    /// whose values clients leave in the page. Without a file doorbells come by messages.
    private func declareDoorbells(on server: DeviceServer) throws(Errno) {
        let file = doorbells.file
        let mapped = doorbellMode == .mmap ? file : nil
        let page = Region.Area(offset: UInt64(DoorbellPage.offset), size: UInt64(DoorbellPage.byteCount))
        try server.setRegion(
            .bar0,
            Region(
                size: UInt64(Self.barSize), flags: [.readWrite, .memory, .bits64], file: mapped,
                mappableAreas: mapped == nil ? [] : [page]))
        server.removeIOEventFDs(from: .bar0)
        guard let notifier, let file else { return }
        for place in 0..<UInt64(notifier.count) {
            let offset = UInt64(DoorbellPage.offset) + 4 * place
            try server.addIOEventFD(
                IOEventFD(
                    file: notifier.file.rawValue, offset: offset, size: 4, shadowFile: file.rawValue,
                    shadowOffset: offset), to: .bar0)
        }
    }

    private func controller() throws(Errno) -> NVMeController {
        guard let controllerStorage else { throw .invalidArgument }
        return controllerStorage
    }

    // MARK: Device

    package func read(
        _ region: RegionIndex, at offset: UInt64, into data: inout MutableRawSpan, on server: DeviceServer
    ) throws(Errno) {
        let controller = try controller()
        for place in 0..<data.byteCount {
            // The access lies within the region, which is far smaller than an Int.
            let position = Int(offset) + place
            let byte: UInt8
            if region == .bar4 {
                byte = tables[position]
            } else {
                let bits = UInt32(position & 3) * 8
                byte = UInt8(truncatingIfNeeded: controller.readRegister(position & ~3) >> bits)
            }
            data.storeBytes(of: byte, toByteOffset: place, as: UInt8.self)
        }
    }

    package func write(_ region: RegionIndex, at offset: UInt64, from data: RawSpan, on server: DeviceServer)
        throws(Errno)
    {
        let controller = try controller()
        let start = Int(offset)
        if region == .bar4 {
            for place in 0..<data.byteCount { tables[start + place] = data.byte(place) }
            return
        }
        // Registers are written whole: four bytes, or two registers at once.
        guard start & 3 == 0, data.byteCount & 3 == 0 else { return }
        for place in stride(from: 0, to: data.byteCount, by: 4) {
            var value: UInt32 = 0
            for byte in 0..<4 { value |= UInt32(data.byte(place + byte)) << UInt32(8 * byte) }
            controller.writeRegister(start + place, value)
        }
    }

    package func quiesce(on server: DeviceServer) throws(Errno) -> QuiesceState {
        guard let controller = controllerStorage else { return .quiesced }
        controller.pause()
        // What would have to be copied by messages is put off: the client may answer none before this request is (QEMU).
        // One that uses I/O address spaces does, and the commands under way end before their memory goes.
        if server.usesIOAS == true, controller.usesCopies { controller.finishPending() }
        // Other controllers on this thread are not made to wait for slow stores.
        isQuiescing = controller.isUsingMemory
        if isQuiescing { return .pending }
        controller.resume()
        return .quiesced
    }

    /// To be called after the controller's turns: tells the server when the device is quiesced, if it waits for that.
    ///
    /// - Returns: whether it was told, and the controller begins commands again.
    @discardableResult
    package func continueQuiescing() -> Bool {
        guard isQuiescing, let controller = controllerStorage, !controller.isUsingMemory else { return false }
        isQuiescing = false
        controller.resume()
        // What could not be carried out has been answered with an error.
        try? unsafe server?.quiesced()
        return true
    }

    package func reset(_ kind: ResetKind, on server: DeviceServer) throws(Errno) {
        controllerStorage?.memoryChanged()
        controllerStorage?.reset()
        wasUnmasked = false
        isQuiescing = false
        controllerStorage?.resume()
        guard kind == .lostConnection, doorbellMode != .trap else { return }
        // The client may have kept the page, which must not be the next one's.
        var failure: Errno?
        do throws(Errno) { try doorbells.renew() } catch { failure = error }
        try declareDoorbells(on: server)
        if let failure { throw failure }
    }

    package func dmaRegionAdded(_ region: DMARegion, on server: DeviceServer) {
        controllerStorage?.memoryChanged()
    }

    package func dmaRegionRemoved(_ region: DMARegion, on server: DeviceServer) {
        controllerStorage?.memoryChanged()
    }

    package func interruptsMasked(
        _ kind: InterruptKind, vectors: Range<UInt32>, masked: Bool, on server: DeviceServer
    ) {
        guard kind == .intx, !masked else { return }
        // One that the client has yet to take tells it more than this one could.
        if withdraw() { controllerStorage?.interruptServiced() } else { wasUnmasked = true }
    }

    // MARK: Host

    package func window(at address: UInt64) -> MemoryWindow {
        guard let memory else { return .none }
        for use in [MemoryUse.readWrite, .read, .write] {
            guard let piece = try? memory.piece(at: address, count: 1, for: use),
                let whole = try? memory.mapping(of: piece)
            else { continue }
            // As long as the mapping is there, all of it is in this process or nothing is.
            return unsafe MemoryWindow(
                first: whole.address, count: UInt64(whole.count),
                base: (try? memory.address(of: whole)) ?? nil,
                isReadable: use != .write, isWritable: use != .read)
        }
        return .none
    }

    package func read(_ address: UInt64, into target: UnsafeMutableRawPointer, count: Int) -> Bool {
        guard let server = unsafe server, let controller = controllerStorage else { return false }
        let resets = controller.resetCount
        let buffer = unsafe UnsafeMutableRawBufferPointer(start: target, count: count)
        do throws(Errno) {
            try unsafe server.readMemory(at: address, into: buffer)
        } catch {
            if Self.isTemporary(error, server) { controller.interrupt() }
            return false
        }
        return controller.resetCount == resets
    }

    package func write(_ address: UInt64, from source: UnsafeRawPointer, count: Int) -> Bool {
        guard let server = unsafe server, let controller = controllerStorage else { return false }
        let resets = controller.resetCount
        let buffer = unsafe UnsafeRawBufferPointer(start: source, count: count)
        do throws(Errno) {
            try unsafe server.writeMemory(at: address, from: buffer)
        } catch {
            if Self.isTemporary(error, server) { controller.interrupt() }
            return false
        }
        return controller.resetCount == resets
    }

    /// Whether a copy failed because a request of the client's comes first. A client may also answer these errors.
    private static func isTemporary(_ error: Errno, _ server: DeviceServer) -> Bool {
        switch error {
        case .canceled: server.hasRequests
        case .resourceBusy: server.isQuiescing
        default: false
        }
    }

    package var tracksWrites: Bool { memory?.isTracked ?? false }

    package func wrote(_ address: UInt64, _ count: Int) {
        guard let memory else { return }
        var address = address
        var left = count
        while left > 0, let piece = try? memory.piece(at: address, count: left, for: .write) {
            memory.markDirty(piece)
            address &+= UInt64(piece.count)
            left -= piece.count
        }
    }

    package func signal(vector: UInt16) { try? unsafe server?.triggerInterrupt(UInt32(vector)) }

    package func withdraw() -> Bool { unsafe server?.withdrawInterrupt(0) ?? false }

    /// The enable bit of MSI-X.
    package var hasVectors: Bool {
        guard let control = try? unsafe server?.configurationWord(at: msixOffset + 2) else { return false }
        return control & 0x8000 != 0
    }
}

extension RawSpan {
    /// A byte; any bits make one.
    fileprivate func byte(_ place: Int) -> UInt8 { unsafe unsafeLoad(fromByteOffset: place, as: UInt8.self) }
}
