internal import Synchronization

/// The controller's registers that have a state (NVMe 1.4, 3.1).
struct Registers {
    var interruptMask: UInt32 = 0
    var configuration: UInt32 = 0
    var adminQueueAttributes: UInt32 = 0
    var adminSubmissionQueue: UInt64 = 0
    var adminCompletionQueue: UInt64 = 0
    var isReady = false
    var hasFatalError = false
    /// 0 none, 1 under way, 2 complete.
    var shutdownStatus: UInt32 = 0
    /// Since power-on.
    var wasEnabled = false

    var isEnabled: Bool { configuration & 1 != 0 }
}

/// Where they are.
enum RegisterOffset {
    static let capabilities = 0x00
    static let version = 0x08
    static let interruptMaskSet = 0x0c
    static let interruptMaskClear = 0x10
    static let configuration = 0x14
    static let status = 0x1c
    static let adminQueueAttributes = 0x24
    static let adminSubmissionQueue = 0x28
    static let adminCompletionQueue = 0x30
    static let doorbells = 0x1000
}

extension NVMeController {
    /// CAP: the largest queue, contiguous queues only, 10 s to get ready, NVM commands, pages of 4 KiB.
    var capabilities: UInt64 {
        let timeout: UInt64 = 20
        return UInt64(configuration.maxQueueEntries - 1) | 1 << 16 | timeout << 24 | 1 << 37
    }

    /// VS: 1.4.0.
    static let version: UInt32 = 0x0001_0400

    /// The four bytes at a register's offset, a multiple of 4. Doorbells and what is reserved read as 0.
    public func readRegister(_ offset: Int) -> UInt32 {
        switch offset {
        case RegisterOffset.capabilities: UInt32(truncatingIfNeeded: capabilities)
        case RegisterOffset.capabilities + 4: UInt32(truncatingIfNeeded: capabilities >> 32)
        case RegisterOffset.version: Self.version
        case RegisterOffset.interruptMaskSet, RegisterOffset.interruptMaskClear: registers.interruptMask
        case RegisterOffset.configuration: registers.configuration
        case RegisterOffset.status:
            (registers.isReady ? 1 : 0) | (registers.hasFatalError ? 2 : 0) | registers.shutdownStatus << 2
        case RegisterOffset.adminQueueAttributes: registers.adminQueueAttributes
        case RegisterOffset.adminSubmissionQueue:
            UInt32(truncatingIfNeeded: registers.adminSubmissionQueue)
        case RegisterOffset.adminSubmissionQueue + 4:
            UInt32(truncatingIfNeeded: registers.adminSubmissionQueue >> 32)
        case RegisterOffset.adminCompletionQueue:
            UInt32(truncatingIfNeeded: registers.adminCompletionQueue)
        case RegisterOffset.adminCompletionQueue + 4:
            UInt32(truncatingIfNeeded: registers.adminCompletionQueue >> 32)
        default: 0
        }
    }

    /// Writes the four bytes at a register's offset. Others than the writable ones ignore it.
    public func writeRegister(_ offset: Int, _ value: UInt32) {
        wakeCount &+= 1
        switch offset {
        case RegisterOffset.interruptMaskSet:
            registers.interruptMask |= value
            owesInterrupts = true
        case RegisterOffset.interruptMaskClear:
            registers.interruptMask &= ~value
            owesInterrupts = true
        case RegisterOffset.configuration: configure(value)
        case RegisterOffset.adminQueueAttributes:
            registers.adminQueueAttributes = value & 0x0fff_0fff
        case RegisterOffset.adminSubmissionQueue:
            registers.adminSubmissionQueue.replaceLow(value & ~0xfff)
        case RegisterOffset.adminSubmissionQueue + 4: registers.adminSubmissionQueue.replaceHigh(value)
        case RegisterOffset.adminCompletionQueue:
            registers.adminCompletionQueue.replaceLow(value & ~0xfff)
        case RegisterOffset.adminCompletionQueue + 4: registers.adminCompletionQueue.replaceHigh(value)
        default:
            let doorbell = (offset - RegisterOffset.doorbells) / 4
            if offset >= RegisterOffset.doorbells, doorbell < Limit.pageSize / 4 {
                ring(doorbell, value)
            }
        }
    }

    /// A write to CC.
    private func configure(_ value: UInt32) {
        let wasEnabled = registers.isEnabled
        let oldShutdown = registers.configuration >> 14 & 3
        registers.configuration = value & 0x00ff_fff1
        // Clients wait for CSTS.RDY to become 0. For one that did not the rest comes later.
        if registers.isEnabled, !wasEnabled, !due.contains(.disable) { enable() }
        if !registers.isEnabled, wasEnabled {
            stop()
            due.remove(.shutdown)
            // Until then client memory is in use, and CSTS.RDY stays.
            if isUsingMemory { due.insert(.disable) } else { clear() }
        }
        let shutdown = value >> 14 & 3
        if shutdown == 1 || shutdown == 2, oldShutdown != shutdown, registers.shutdownStatus == 0 {
            shutDown()
        }
    }

    private func shutDown() {
        registers.shutdownStatus = 1
        isRunning = false
        // The rest takes time, which the client's write is not made to wait for.
        due.insert(.shutdown)
    }

    /// Nothing uses client memory any more: what the client asked for since it disabled the controller comes now.
    func finishDisabling() {
        let isShutdownDue = due.contains(.shutdown)
        clear()
        if registers.isEnabled { enable() }
        if isShutdownDue { shutDown() }
    }

    /// CC.EN became 1 (NVMe 1.4, 7.6.1).
    private func enable() {
        // What was asked for, or went wrong, before is nothing to this session: a shutdown that is under way ends unnoticed.
        resetCount &+= 1
        registers.hasFatalError = false
        registers.shutdownStatus = 0
        due.remove(.shutdown)
        let pageSize = registers.configuration >> 7 & 0xf
        let arbitration = registers.configuration >> 11 & 7
        let commandSet = registers.configuration >> 4 & 7
        let submissionSize = (registers.adminQueueAttributes & 0xfff) + 1
        let completionSize = (registers.adminQueueAttributes >> 16 & 0xfff) + 1
        guard pageSize == 0, arbitration == 0, commandSet == 0, submissionSize >= 2, completionSize >= 2
        else { return failFatally() }
        clearDoorbells()
        if !registers.wasEnabled { unsafe counters.pointee.powerCycles &+= 1 }
        registers.wasEnabled = true
        activateCompletionQueue(
            0, at: registers.adminCompletionQueue, size: completionSize, vector: 0, interrupts: true)
        activateSubmissionQueue(0, at: registers.adminSubmissionQueue, size: submissionSize, completions: 0)
        registers.isReady = true
        isRunning = true
    }

    /// CSTS.CFS: nothing more happens until the client resets the controller (NVMe 1.4, 9.5).
    func failFatally() {
        registers.hasFatalError = true
        isRunning = false
        forgetParked()
    }

    /// The client's write to a doorbell, where the page of doorbells is not shared with it.
    private func ring(_ doorbell: Int, _ value: UInt32) {
        unsafe doorbells[doorbell].store(value, ordering: .releasing)
        let queue = doorbell / 2
        let exists =
            queue < queueCount
            && (doorbell % 2 == 0
                ? unsafe submissions[queue].isActive : unsafe completions[queue].isActive)
        if isRunning, !exists { report(.invalidDoorbellRegister) }
        // The level falls before the client knows that its write is done.
        if levelIsHigh, unsafe !host.hasVectors { signalLevel() }
    }
}

extension UInt64 {
    fileprivate mutating func replaceLow(_ value: UInt32) { self = self & ~0xffff_ffff | UInt64(value) }
    fileprivate mutating func replaceHigh(_ value: UInt32) {
        self = self & 0xffff_ffff | UInt64(value) << 32
    }
}
