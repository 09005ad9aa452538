import Glibc
import SystemPackage

/// Starts a program of the system.
func spawn(_ command: [String]) throws -> pid_t {
    // The call copies the strings.
    var arguments = unsafe (["/usr/bin/env"] + command).map { unsafe strdup($0) } + [nil]
    defer { for place in unsafe arguments.indices { unsafe free(arguments[place]) } }
    var environment: [UnsafeMutablePointer<CChar>?] = unsafe [
        strdup("PATH=/usr/sbin:/usr/bin:/sbin:/bin"), nil,
    ]
    defer { unsafe free(environment[0]) }
    var process: pid_t = -1
    let result = unsafe posix_spawn(&process, "/usr/bin/env", nil, nil, &arguments, &environment)
    guard result == 0 else { throw Errno(rawValue: result) }
    return process
}

/// Runs a program of the system; its status.
func run(_ command: String...) throws -> Int32 {
    var status: Int32 = 0
    // The call fills the number.
    guard unsafe waitpid(try spawn(command), &status, 0) > 0 else { throw Errno(rawValue: errno) }
    return status
}
