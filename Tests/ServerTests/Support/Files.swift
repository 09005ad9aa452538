import CLinux
import Glibc
import SystemPackage

/// A descriptor of a test, closed with its last reference.
final class File {
    let number: CInt

    init(adopting number: CInt) { self.number = number }

    deinit { _ = Glibc.close(number) }

    /// A memfd of so many bytes.
    static func memory(_ size: Int, name: String = "test") throws(Errno) -> File {
        let file = File(adopting: try check(unsafe clx_memfd(name, 0)))
        guard ftruncate(file.number, size) == 0 else { throw Errno(rawValue: errno) }
        return file
    }

    /// An eventfd that never blocks.
    static func event() throws(Errno) -> File {
        File(adopting: try check(clx_eventfd(0, CInt(EFD_NONBLOCK))))
    }

    /// Two connected stream sockets.
    static func socketPair() throws(Errno) -> (File, File) {
        var pair: [2 of CInt] = [-1, -1]
        var span = pair.mutableSpan
        // The call fills both elements.
        _ = try check(unsafe span.withUnsafeMutableBufferPointer { unsafe clx_socket_pair($0.baseAddress) })
        return (File(adopting: pair[0]), File(adopting: pair[1]))
    }

    /// Both ends of a pipe, reading end first.
    static func pipe() throws(Errno) -> (File, File) {
        var pair: [2 of CInt] = [-1, -1]
        var span = pair.mutableSpan
        // The call fills both elements.
        let result = unsafe span.withUnsafeMutableBufferPointer { unsafe Glibc.pipe($0.baseAddress) }
        guard result == 0 else { throw Errno(rawValue: errno) }
        return (File(adopting: pair[0]), File(adopting: pair[1]))
    }

    /// The count of an eventfd, which is then 0; 0 also if nothing was signalled.
    func events() -> UInt64 {
        var count: UInt64 = 0
        // Eight bytes, as many as an eventfd gives.
        return unsafe Glibc.read(number, &count, 8) == 8 ? count : 0
    }

    /// Bytes of the file.
    func contents(at offset: Int, count: Int) -> [UInt8] {
        var buffer = [UInt8](repeating: 0, count: count)
        // The buffer has room for `count` bytes.
        let got = unsafe pread(number, &buffer, count, offset)
        return Array(buffer[..<max(0, got)])
    }

    /// Writes to the file.
    func put(_ bytes: [UInt8], at offset: Int) {
        // As many bytes as the array has.
        _ = unsafe pwrite(number, bytes, bytes.count, offset)
    }
}

extension File {
    /// A file that tells when nobody has it open any more: the writing end of a pipe.
    final class Watch {
        private let reading: File
        private var writing: File?

        init() throws(Errno) {
            let (reading, writing) = try File.pipe()
            self.reading = reading
            self.writing = writing
        }

        /// The file, which is the caller's from here on.
        func takeFile() -> File {
            defer { writing = nil }
            return writing ?? File(adopting: -1)
        }

        /// Whether all its descriptors are closed.
        var isClosed: Bool {
            var waiting = pollfd(fd: reading.number, events: Int16(POLLIN), revents: 0)
            // One entry, as said.
            return unsafe poll(&waiting, 1, 0) == 1 && waiting.revents == Int16(POLLHUP)
        }
    }
}

/// A result of the CLinux functions.
func check(_ result: CInt) throws(Errno) -> CInt {
    if result < 0 { throw Errno(rawValue: -result) }
    return result
}

/// All of a file under /proc.
func procFile(_ name: String) -> String {
    // A Swift string goes to C as its bytes and a NUL.
    let file = unsafe open(name, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return "" }
    defer { _ = Glibc.close(file) }
    var text: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while true {
        // The buffer has room for that many bytes.
        let count = unsafe read(file, &buffer, buffer.count)
        guard count > 0 else { break }
        text += buffer[..<count]
    }
    return String(decoding: text, as: UTF8.self)
}

/// Open sockets and memfds of this process. Only of use where no other test runs: in exit tests, whose process opens
/// other files, eventfds among them.
func openDescriptorCount() -> Int {
    (0..<1024 as Range<CInt>).count { number in
        guard fcntl(number, F_GETFD) >= 0 else { return false }
        var target = [UInt8](repeating: 0, count: 64)
        // The buffer has room for that many bytes.
        let count = unsafe target.withUnsafeMutableBytes { target in
            guard let base = target.baseAddress else { return 0 }
            return unsafe readlink(
                "/proc/self/fd/\(number)", base.assumingMemoryBound(to: CChar.self), target.count)
        }
        let name = String(decoding: target.prefix(max(0, count)), as: UTF8.self)
        return ["socket:", "/memfd:"].contains { name.hasPrefix($0) }
    }
}

/// Mappings of memfds called `name` in this process.
func mappingCount(of name: String = "test") -> Int {
    procFile("/proc/self/maps").split(separator: "\n").count { $0.contains("/memfd:\(name)") }
}

/// Bytes that those mappings have in all.
func mappedByteCount(of name: String) -> Int {
    procFile("/proc/self/maps").split(separator: "\n").filter { $0.contains("/memfd:\(name)") }.reduce(0) {
        let ends = $1.prefix { $0 != " " }.split(separator: "-").compactMap { Int($0, radix: 16) }
        return ends.count == 2 ? $0 + ends[1] - ends[0] : $0
    }
}

/// Resident memory of this process, bytes.
func residentByteCount() -> Int {
    let fields = procFile("/proc/self/statm").split(separator: " ")
    return (fields.count > 1 ? Int(fields[1]) ?? 0 : 0) * sysconf(CInt(_SC_PAGESIZE))
}

/// The most memory that was resident at a time since ``forgetPeak()``, bytes.
func peakByteCount() -> Int {
    let line = procFile("/proc/self/status").split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
    let kilobytes = line?.split(whereSeparator: { !$0.isNumber }).first.flatMap { Int($0) }
    return (kilobytes ?? 0) << 10
}

/// Starts to watch the peak anew.
func forgetPeak() {
    let file = unsafe open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC)
    guard file >= 0 else { return }
    // One byte of a string.
    _ = unsafe write(file, "5", 1)
    _ = Glibc.close(file)
}

/// Milliseconds since some moment.
func milliseconds() -> Int {
    var now = timespec()
    // The structure is the call's to fill.
    _ = unsafe clock_gettime(CLOCK_MONOTONIC, &now)
    return now.tv_sec * 1000 + now.tv_nsec / 1_000_000
}

/// A path for a socket, free so far.
func temporaryPath() -> String {
    "/tmp/vfio-user-test-\(getpid())-\(UInt64.random(in: .min ... .max))"
}

/// Whether there is anything at a path.
func exists(_ path: String) -> Bool {
    // A Swift string goes to C as its bytes and a NUL.
    unsafe access(path, F_OK) == 0
}
