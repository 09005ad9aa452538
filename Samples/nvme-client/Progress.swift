internal import Glibc
internal import NVMeDriver
internal import SystemPackage

/// A line on the terminal that says how far something is; nothing where stderr is no terminal.
struct Progress {
    private let verb: String
    private let total: UInt64
    private var done: UInt64 = 0
    private var nextTime: UInt64
    private let isShown = isatty(2) == 1

    private static let interval: UInt64 = 200_000_000

    init(_ verb: String, of total: UInt64) {
        self.verb = verb
        self.total = total
        nextTime = monotonicNanoseconds() + Self.interval
    }

    mutating func advance(_ count: UInt64) {
        done += count
        guard isShown, monotonicNanoseconds() >= nextTime else { return }
        nextTime = monotonicNanoseconds() + Self.interval
        Self.show("\(done >> 20) of \(total >> 20) MiB \(verb)")
    }

    func finish() { if isShown { Self.show("") } }

    /// Replaces the line.
    static func show(_ text: String) {
        _ = try? FileDescriptor.standardError.writeAll("\r\u{1b}[K\(text)".utf8)
    }
}
