import Glibc
import SystemPackage

/// A pipe that tells whether descriptors sent over a socket were all closed: then its reading end is at the
/// end.
struct ClosedProbe: Sendable {
    let reader: CInt
    /// To be sent, as often as wanted; then closed by ``closeOwn()``.
    let writer: CInt

    init() throws {
        var numbers: [CInt] = [-1, -1]
        // Two elements, as the call wants.
        guard unsafe pipe(&numbers) == 0 else { throw Errno(rawValue: errno) }
        reader = numbers[0]
        writer = numbers[1]
    }

    func closeOwn() { _ = close(writer) }

    /// Whether nobody has the writing end open any more, waiting a moment for it.
    func isClosedEverywhere() -> Bool {
        defer { _ = close(reader) }
        var entry = pollfd(fd: reader, events: Int16(POLLIN), revents: 0)
        // One entry.
        guard unsafe poll(&entry, 1, 5000) == 1 else { return false }
        var byte: UInt8 = 0
        return unsafe read(reader, &byte, 1) == 0
    }
}
