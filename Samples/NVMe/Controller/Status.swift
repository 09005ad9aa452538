/// How a command ended: the status field of a completion without its phase bit (NVMe 1.4, 4.6.1).
public struct Status: Equatable, Sendable {
    /// Status code in bits 7:0, its type in 10:8, More in 13, Do Not Retry in 14.
    public let rawValue: UInt16

    /// A status of these bits.
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    private init(_ type: UInt16, _ code: UInt16, retry: Bool = false) {
        rawValue = type << 8 | code | (retry ? 0 : Status.doNotRetry)
    }

    /// Trying again would fail again.
    static let doNotRetry: UInt16 = 1 << 14
    /// The error log says more.
    static let more: UInt16 = 1 << 13

    /// The command was carried out.
    public var isSuccess: Bool { rawValue & 0x7ff == 0 }
    /// Type and code, without the two flags.
    public var code: UInt16 { rawValue & 0x7ff }
}

extension Status {
    package static let success = Status(rawValue: 0)

    // Generic command status.
    package static let invalidOpcode = Status(0, 0x01)
    package static let invalidField = Status(0, 0x02)
    package static let dataTransferError = Status(0, 0x04, retry: true)
    package static let internalError = Status(0, 0x06, retry: true)
    package static let abortRequested = Status(0, 0x07, retry: true)
    package static let invalidNamespace = Status(0, 0x0b)
    package static let commandSequenceError = Status(0, 0x0c)
    package static let invalidSGLSegment = Status(0, 0x0d)
    package static let invalidSGLCount = Status(0, 0x0e)
    package static let invalidSGLLength = Status(0, 0x0f)
    package static let invalidSGLType = Status(0, 0x11)
    package static let invalidPRPOffset = Status(0, 0x13)
    package static let writeProtected = Status(0, 0x20)
    package static let outOfRange = Status(0, 0x80)
    package static let capacityExceeded = Status(0, 0x81)
    package static let formatInProgress = Status(0, 0x84, retry: true)

    // Command specific status.
    package static let invalidCompletionQueue = Status(1, 0x00)
    package static let invalidQueueIdentifier = Status(1, 0x01)
    package static let invalidQueueSize = Status(1, 0x02)
    package static let tooManyEventRequests = Status(1, 0x05)
    package static let invalidInterruptVector = Status(1, 0x08)
    package static let invalidLogPage = Status(1, 0x09)
    package static let invalidFormat = Status(1, 0x0a)
    package static let invalidQueueDeletion = Status(1, 0x0c)
    package static let featureNotSaveable = Status(1, 0x0d)
    package static let featureNotChangeable = Status(1, 0x0e)
    package static let featureNotNamespaceSpecific = Status(1, 0x0f)

    // Media and data integrity errors.
    package static let writeFault = Status(2, 0x80, retry: true)
    package static let unrecoveredReadError = Status(2, 0x81, retry: true)
    package static let compareFailure = Status(2, 0x85)
}
