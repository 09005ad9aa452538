/// Severity of a message; the raw values are syslog's.
public enum LogLevel: CInt, Comparable, Sendable {
    case emergency, alert, critical, error, warning, notice, info, debug

    /// The more severe is the smaller.
    public static func < (left: LogLevel, right: LogLevel) -> Bool { left.rawValue < right.rawValue }
}

extension DeviceServer {
    /// Logs a message that is only made if somebody wants it. Strings a client sent are never part of one.
    func log(_ level: LogLevel, _ message: @autoclosure () -> String) {
        guard level <= logThreshold, let logSink else { return }
        let wasProcessing = isProcessing
        isProcessing = true
        defer { isProcessing = wasProcessing }
        logSink(level, message())
    }
}
