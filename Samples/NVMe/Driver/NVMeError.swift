public import SystemPackage

/// What can go wrong between this driver and a controller, be the controller broken or hostile.
public enum NVMeError: Error, Equatable, Sendable {
    /// The connection, or a request on it, failed: `ENOTCONN` the server has gone, `EPROTO` it broke the
    /// protocol, `ETIMEDOUT` it did not answer; others as it answers.
    case connection(Errno)
    /// The device is something else than an NVMe controller.
    case notNVMe(NotNVMe)
    /// The controller, or the server, cannot do what is needed.
    case unsupported(Need)
    /// The controller reported fatal status (CSTS.CFS); a reset may help.
    case fatalStatus
    /// The controller did not do this in time.
    case timedOut(Step)
    /// A command failed.
    case command(CommandStatus)
    /// The controller completed a command that it was not given, or on the wrong queue. The queue pair cannot be
    /// used any more.
    case badCompletion(queue: UInt16, identifier: UInt16)
    /// The queue pair failed before.
    case queueFailed
    /// As many commands are outstanding as the queue holds.
    case queueFull
    /// The caller asked for something impossible: too much data for one command, blocks outside the namespace,
    /// memory outside the buffer.
    case invalidArgument

    /// What tells that a device is no NVMe controller.
    public enum NotNVMe: Equatable, Sendable {
        /// The device is not PCI.
        case device
        /// Class, subclass and interface are others than 01:08:02.
        case classCode(UInt32)
        /// BAR0 is too small, or cannot be read and written.
        case registers
    }

    /// What a controller or a server has to offer.
    public enum Need: Equatable, Sendable {
        /// The NVM command set (CAP.CSS).
        case commandSet
        /// Memory pages of 4 KiB (CAP.MPSMIN).
        case pageSize
        /// At least one pair of I/O queues.
        case queues
        /// IOAS mode.
        case ioas
        /// SGLs.
        case sgls
        /// MSI-X, with a vector for the queue.
        case interrupts
        /// A namespace with this identifier.
        case namespace(UInt32)
        /// Blocks of 512 bytes to 64 KiB without metadata.
        case blockFormat
    }

    /// What takes a controller time.
    public enum Step: Equatable, Sendable {
        /// CSTS.RDY becomes 1.
        case enable
        /// CSTS.RDY becomes 0.
        case disable
        /// CSTS.SHST becomes 2.
        case shutdown
        /// A command completes.
        case command
    }
}

extension NVMeError: CustomStringConvertible {
    /// The error in words.
    public var description: String {
        switch self {
        case .connection(.socketNotConnected): "the server has closed the connection"
        case .connection(.protocolError): "the server broke the vfio-user protocol"
        case .connection(let error): "the server, or the connection to it: \(error)"
        case .notNVMe(.device): "the device is not PCI"
        case .notNVMe(.classCode(let code)):
            "the device is of class 0x\(String(code, radix: 16)), not an NVMe controller (0x10802)"
        case .notNVMe(.registers): "the device has no controller registers in BAR0"
        case .unsupported(let need): "not supported by the server: \(need.words)"
        case .fatalStatus: "the controller reports a fatal error (CSTS.CFS)"
        case .timedOut(.enable): "the controller does not become ready"
        case .timedOut(.disable): "the controller does not stop"
        case .timedOut(.shutdown): "the controller does not finish its shutdown"
        case .timedOut(.command): "a command is not completed in time"
        case .command(let status): "the controller answers: \(status)"
        case .badCompletion(let queue, let identifier):
            "the controller completed command \(identifier) of queue \(queue), which was not outstanding"
        case .queueFailed: "the queue failed before"
        case .queueFull: "the queue is full"
        case .invalidArgument: "impossible arguments"
        }
    }
}

extension NVMeError.Need {
    fileprivate var words: String {
        switch self {
        case .commandSet: "the NVM command set"
        case .pageSize: "memory pages of 4 KiB"
        case .queues: "I/O queues"
        case .ioas: "IOAS mode"
        case .sgls: "scatter-gather lists (SGL)"
        case .interrupts: "MSI-X interrupts for each queue"
        case .namespace(let identifier): "namespace \(identifier)"
        case .blockFormat: "the namespace's format (blocks of 512 bytes to 64 KiB, no metadata)"
        }
    }
}

/// Has errors of the connection come as the driver's.
@inline(__always)
func connection<Result: ~Copyable>(_ body: () throws(Errno) -> Result) throws(NVMeError) -> Result {
    do throws(Errno) { return try body() } catch { throw .connection(error) }
}
