internal import ArgumentParser
internal import Logging
internal import NVMePCI
internal import VFIOUserServer

/// Whether the server waits.
enum Waiting: String, EnumerableFlag {
    case poll, event

    static func help(for value: Waiting) -> ArgumentHelp? {
        switch value {
        case .poll: "Look for commands all the time, which takes a processor."
        case .event:
            """
            Sleep while nothing happens. With --doorbells mmap it wakes up to look: the longer nothing happened, the \
            less often, from 1 ms to 16 ms.
            """
        }
    }
}

/// Whether clients manage I/O address spaces.
enum AddressSpaces: String, CaseIterable, ExpressibleByArgument {
    case off, auto, require

    var policy: IOASPolicy {
        switch self {
        case .off: .off
        case .auto: .auto
        case .require: .require
        }
    }
}

/// Where IOVAs come from.
enum AddressSource: String, CaseIterable, ExpressibleByArgument {
    case opaque, address
}

/// What is logged.
enum LogChoice: String, CaseIterable, ExpressibleByArgument {
    case debug, info, notice, warning, error

    var level: Logger.Level {
        switch self {
        case .debug: .debug
        case .info: .info
        case .notice: .notice
        case .warning: .warning
        case .error: .error
        }
    }

    var serverLevel: LogLevel {
        switch self {
        case .debug: .debug
        case .info: .info
        case .notice: .notice
        case .warning: .warning
        case .error: .error
        }
    }
}

extension DoorbellMode: ExpressibleByArgument {}
