public import SystemPackage
internal import VFIOUserTransport
internal import VFIOUserWire

extension Client {
    /// What DEVICE_SET_IRQS does.
    public enum InterruptAction: Sendable {
        case mask
        case unmask
        case trigger

        var flag: SetIRQs.Flags {
            switch self {
            case .mask: .mask
            case .unmask: .unmask
            case .trigger: .trigger
            }
        }
    }

    /// Has interrupts signalled to listeners, one for each from `start` on (DEVICE_SET_IRQS, EVENTFD,
    /// TRIGGER).
    public func setInterrupts(_ kind: Interrupt, start: UInt32 = 0, _ listeners: [InterruptListener])
        throws(Errno)
    {
        try setInterrupts(kind, start: start, files: listeners.map(\.descriptor))
    }

    /// The same with any descriptors; the server may refuse more than its `maxFDs`.
    public func setInterrupts(
        _ kind: Interrupt, start: UInt32 = 0, files: [FileDescriptor], action: InterruptAction = .trigger
    ) throws(Errno) {
        try perform(
            .interrupts(kind, action, start: start, files: files, count: UInt32(clamping: files.count)))
    }

    /// Takes the eventfds of so many interrupts away (EVENTFD, TRIGGER, no descriptor).
    public func clearInterrupts(_ kind: Interrupt, start: UInt32 = 0, count: UInt32) throws(Errno) {
        try perform(.interrupts(kind, .trigger, start: start, files: [], count: count))
    }

    /// Takes all eventfds of a kind away (NONE, TRIGGER, no interrupts).
    public func disableInterrupts(_ kind: Interrupt) throws(Errno) {
        try perform(.interrupts(kind, .trigger, start: 0, count: 0))
    }

    /// Masks interrupts (NONE, MASK).
    public func maskInterrupts(_ kind: Interrupt, start: UInt32 = 0, count: UInt32 = 1) throws(Errno) {
        try perform(.interrupts(kind, .mask, start: start, count: count))
    }

    /// Unmasks interrupts (NONE, UNMASK).
    public func unmaskInterrupts(_ kind: Interrupt, start: UInt32 = 0, count: UInt32 = 1) throws(Errno) {
        try perform(.interrupts(kind, .unmask, start: start, count: count))
    }

    /// Has the server signal interrupts as if the device had (NONE, TRIGGER).
    public func triggerInterrupts(_ kind: Interrupt, start: UInt32 = 0, count: UInt32 = 1) throws(Errno) {
        try perform(.interrupts(kind, .trigger, start: start, count: count))
    }

    /// Does so for those interrupts from `start` on whose entry is true (BOOL).
    public func setInterrupts(
        _ kind: Interrupt, _ action: InterruptAction, start: UInt32 = 0, where chosen: [Bool]
    ) throws(Errno) {
        try perform(.interrupts(kind, action, start: start, where: chosen))
    }
}

extension Client.Request {
    /// DEVICE_SET_IRQS without data.
    public static func interrupts(
        _ kind: Client.Interrupt, _ action: Client.InterruptAction, start: UInt32, count: UInt32
    ) -> Self {
        interrupts([.dataNone, action.flag], kind, start, count)
    }

    /// DEVICE_SET_IRQS with a byte for each interrupt.
    public static func interrupts(
        _ kind: Client.Interrupt, _ action: Client.InterruptAction, start: UInt32, where chosen: [Bool]
    ) -> Self {
        interrupts(
            [.dataBool, action.flag], kind, start, UInt32(clamping: chosen.count),
            data: chosen.map { $0 ? 1 : 0 })
    }

    /// DEVICE_SET_IRQS with descriptors: `count` of them, or none.
    public static func interrupts(
        _ kind: Client.Interrupt, _ action: Client.InterruptAction, start: UInt32, files: [FileDescriptor],
        count: UInt32
    ) -> Self {
        interrupts([.dataEventFD, action.flag], kind, start, count, files: files)
    }

    private static func interrupts(
        _ flags: SetIRQs.Flags, _ kind: Client.Interrupt, _ start: UInt32, _ count: UInt32,
        data: [UInt8] = [],
        files: [FileDescriptor] = []
    ) -> Self {
        let argsz = SetIRQs.argumentByteCount + UInt32(clamping: data.count)
        let head = SetIRQs(flags: flags, index: kind.rawValue, start: start, count: count, argsz: argsz)
        return Self(.deviceSetIRQs, head, data: data, files: files)
    }
}
