public import VFIOUserClient

/// How a driver uses a controller.
public struct DriverOptions: Sendable {
    /// How memory becomes visible to the controller; nil: by an IOAS where the server has that mode.
    public var memoryMode: MemoryMode?
    /// How the server gets at memory: by its file, or by messages.
    public var sharing = Client.DMASharing.file
    /// Whether doorbells are written in mapped memory where the server lets the client map them. Memory of a hostile
    /// server may vanish, which ends the process with SIGBUS.
    public var mapsDoorbells = true
    /// Whether commands of I/O queues name their data by SGLs instead of PRPs.
    public var usesSGL = false
    /// Whether completions are announced by MSI-X, and waited for, instead of looked for all the time.
    public var usesInterrupts = false
    /// Most bytes of one command, if the controller does not say less: a page...4 MiB.
    public var maxTransfer = 1 << 20
    /// Pairs of I/O queues to ask for, 1...65535.
    public var queueCount = 1
    /// How long the server may take to answer, and the controller to complete any of the commands outstanding.
    public var timeout = Duration.seconds(10)

    /// Polled, with PRPs.
    public init() {}

    /// What the connection to the server has to be like.
    public var clientOptions: ClientOptions {
        var options = ClientOptions()
        options.timeout = timeout
        options.ioas = memoryMode == .legacy ? nil : .all
        return options
    }
}
