internal import Glibc
internal import SystemPackage
internal import VFIOUserClient

/// The controller's registers, by messages, and what is done by them alone (NVMe 1.4, 7.6).
struct RegisterAccess {
    let client: Client

    func read64(_ offset: UInt64) throws(NVMeError) -> UInt64 {
        try connection { () throws(Errno) in try client.read(.bar0, at: offset) }
    }

    private func read32(_ offset: UInt64) throws(NVMeError) -> UInt32 {
        try connection { () throws(Errno) in try client.read(.bar0, at: offset) }
    }

    private func write<Value: FixedWidthInteger>(_ value: Value, _ offset: UInt64) throws(NVMeError) {
        try connection { () throws(Errno) in try client.write(value, to: .bar0, at: offset) }
    }

    /// Has the controller stop and forget everything.
    func disable(_ capabilities: ControllerCapabilities) throws(NVMeError) {
        let configuration = try read32(Register.configuration)
        if configuration & Configuration.enable != 0 {
            try write(configuration & ~Configuration.enable, Register.configuration)
        }
        // A reset takes a controller out of fatal status, too.
        try wait(.disable, .milliseconds(capabilities.readyTimeout), toleratesFatal: true) { !$0.isReady }
    }

    /// Tells the controller of its admin queues and starts it.
    func enable(_ capabilities: ControllerCapabilities, _ admin: borrowing QueuePair) throws(NVMeError) {
        let size = UInt32(truncatingIfNeeded: admin.entries - 1)
        try write(size << 16 | size, Register.adminQueueAttributes)
        try write(admin.submissionAddress, Register.adminSubmissionQueue)
        try write(admin.completionAddress, Register.adminCompletionQueue)
        try write(Configuration.running, Register.configuration)
        try wait(.enable, .milliseconds(capabilities.readyTimeout)) { $0.isReady }
    }

    /// A normal shutdown.
    func shutDown(_ timeout: Duration) throws(NVMeError) {
        try write(Configuration.running | Configuration.shutdown, Register.configuration)
        try wait(.shutdown, timeout) { $0.isShutDown }
    }

    /// Asks for the status until it is as wanted.
    private func wait(
        _ step: NVMeError.Step, _ timeout: Duration, toleratesFatal: Bool = false,
        until isDone: (Status) -> Bool
    ) throws(NVMeError) {
        // A controller that says 0 gets a moment, too.
        let end = monotonicNanoseconds() &+ max(timeout, .milliseconds(500)).nanoseconds
        while true {
            let status = Status(rawValue: try read32(Register.status))
            guard !status.isAbsent else { throw .notNVMe(.registers) }
            if isDone(status) { return }
            if status.isFatal, !toleratesFatal { throw .fatalStatus }
            guard monotonicNanoseconds() < end else { throw .timedOut(step) }
            // The server may want the processor, and memory shared by messages.
            try connection { () throws(Errno) in try client.serveAvailable() }
            _ = usleep(100)
        }
    }
}
