internal import SystemPackage
public import VFIOUserClient

/// An NVMe controller behind a vfio-user socket, from its reset to its shutdown.
///
/// It belongs to one thread at a time, its queue pairs with it where they send messages (doorbells that are not
/// mapped, memory shared by messages); all of them do when they have nothing to do (``QueuePair/idle()``).
///
/// Whatever the server does is an error of ``NVMeError``, in bounded time.
public final class Controller {
    /// The connection.
    public let client: Client
    /// CAP.
    public let capabilities: ControllerCapabilities
    /// What the controller says about itself.
    public internal(set) var identity: ControllerIdentity
    /// Pairs of I/O queues there can be.
    public internal(set) var queueCount = 0
    /// Whether doorbells are in mapped memory; otherwise they are messages.
    public var hasMappedDoorbells: Bool { doorbells != nil }
    /// How memory becomes visible to the controller.
    public var memoryMode: MemoryMode { space.mode }

    let options: DriverOptions
    let function: PCIFunction
    let space: DMASpace
    let doorbells: MappedRegion?
    var admin: QueuePair
    /// What Identify writes to.
    let page: DMABuffer
    /// MSI-X: where the capability is, vectors.
    var msix: (offset: UInt64, vectors: Int)?
    /// Identifiers of I/O queue pairs there are.
    var queues = Set<UInt16>()

    /// Connects to a server's socket and starts its controller.
    ///
    /// - Throws: as ``init(_:_:)``.
    public convenience init(connectingTo path: String, _ options: DriverOptions = DriverOptions())
        throws(NVMeError)
    {
        let client = try connection { () throws(Errno) in
            try Client(connectingTo: path, options: options.clientOptions)
        }
        try self.init(client, options)
    }

    /// Resets and starts the controller behind a connection, which should have been made with
    /// ``DriverOptions/clientOptions``.
    ///
    /// - Throws: `.connection`; `.notNVMe`; `.unsupported`; `.fatalStatus`; `.timedOut`; `.command` with the status
    ///   of a command that has to succeed.
    public init(_ client: Client, _ options: DriverOptions = DriverOptions()) throws(NVMeError) {
        var options = options
        options.maxTransfer = min(max(options.maxTransfer, DataPointer.pageSize), 4 << 20)
        options.queueCount = min(max(options.queueCount, 1), 65535)
        self.options = options
        self.client = client
        function = PCIFunction(client: client)
        try function.enable()
        let registers = RegisterAccess(client: client)
        capabilities = ControllerCapabilities(rawValue: try registers.read64(Register.capabilities))
        doorbells = try Self.findDoorbells(client, capabilities, options)
        guard capabilities.hasNVMCommands else { throw .unsupported(.commandSet) }
        guard capabilities.takesSmallestPages else { throw .unsupported(.pageSize) }
        try registers.disable(capabilities)
        let mode = options.memoryMode ?? (client.server.ioas == nil ? .legacy : .ioas)
        guard mode == .legacy || client.server.ioas != nil else { throw .unsupported(.ioas) }
        space = try DMASpace(client, mode, options.sharing)
        page = try space.make(DataPointer.pageSize)
        admin = try Self.makeQueuePair(
            0, entries: Self.adminEntries, maxTransfer: DataPointer.pageSize, usesSGL: false, listener: nil,
            client, space, capabilities, doorbells, options)
        identity = ControllerIdentity([])
        try registers.enable(capabilities, admin)
        try identify()
        try askForQueues()
        msix = options.usesInterrupts ? try function.msixCapability() : nil
        if let msix { try function.enableMSIX(msix.offset) }
    }

    private static let adminEntries = 32

    /// Finds the mapped part of BAR0 with the doorbells, if there is one.
    ///
    /// - Throws: `.notNVMe` BAR0 cannot be the registers of a controller.
    private static func findDoorbells(
        _ client: Client, _ capabilities: ControllerCapabilities, _ options: DriverOptions
    ) throws(NVMeError) -> MappedRegion? {
        let region = try connection { () throws(Errno) in try client.regionInfo(.bar0) }
        guard region.size >= Register.doorbells + 2 * capabilities.doorbellStride, region.isReadable,
            region.isWritable
        else { throw .notNVMe(.registers) }
        guard options.mapsDoorbells else { return nil }
        let area = region.areas.firstIndex {
            $0.offset <= Register.doorbells && $0.size > 0
                && $0.size - 1 >= Register.doorbells - $0.offset
        }
        // What cannot be mapped can be written by messages.
        return area.flatMap { try? MappedRegion(region, area: $0) }
    }

    /// Memory for data, visible to the controller.
    ///
    /// - Parameter count: bytes; rounded up to whole pages.
    /// - Throws: `.connection` with the errno of making memory, or of the server.
    public func makeBuffer(_ count: Int) throws(NVMeError) -> DMABuffer { try space.make(count) }

    /// Takes memory away from the controller. No command may be using it.
    public func remove(_ buffer: DMABuffer) throws(NVMeError) { try space.remove(buffer) }

    /// Shuts the controller down, so that everything written is durable; then takes its memory away and ends the
    /// connection. Queue pairs cannot be used afterwards.
    ///
    /// - Throws: `.timedOut`, `.fatalStatus`, `.connection`; the connection is closed in any case.
    public func shutDown() throws(NVMeError) {
        defer { client.close() }
        try RegisterAccess(client: client).shutDown(options.timeout)
        try space.removeAll()
    }
}
