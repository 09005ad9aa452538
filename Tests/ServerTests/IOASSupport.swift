import CLinux
import Glibc
import SystemPackage
import VFIOUserAddressSpace
import VFIOUserSystem
import VFIOUserTransport
import VFIOUserWire

@testable import VFIOUserServer

/// A device that writes down what it is told.
final class IOASDevice: Device {
    enum Event: Equatable {
        case added(UInt64, UInt64)
        case removed(UInt64, UInt64)
        case attached(UInt32?)
        case quiesce
        case reset(ResetKind)
    }

    var events: [Event] = []
    /// The answer to the next quiesce requests.
    var quiesceState = QuiesceState.quiesced
    // Called in the middle of what the name says.
    var whenAdded: (DMARegion, DeviceServer) -> Void = { _, _ in }
    var whenRemoved: (DMARegion, DeviceServer) -> Void = { _, _ in }
    var whenAttached: (UInt32?, DeviceServer) -> Void = { _, _ in }

    /// For the end of a test that asked for something that holds the device.
    func forgetHooks() {
        (whenAdded, whenRemoved, whenAttached) = ({ _, _ in }, { _, _ in }, { _, _ in })
    }

    func dmaRegionAdded(_ region: DMARegion, on server: DeviceServer) {
        events.append(.added(region.address, region.size))
        whenAdded(region, server)
    }

    func dmaRegionRemoved(_ region: DMARegion, on server: DeviceServer) {
        events.append(.removed(region.address, region.size))
        whenRemoved(region, server)
    }

    func addressSpaceChanged(to id: UInt32?, on server: DeviceServer) {
        events.append(.attached(id))
        whenAttached(id, server)
    }

    func quiesce(on server: DeviceServer) throws(Errno) -> QuiesceState {
        events.append(.quiesce)
        return quiesceState
    }

    func reset(_ kind: ResetKind, on server: DeviceServer) throws(Errno) { events.append(.reset(kind)) }

    /// What happened since the last call.
    func takeEvents() -> [Event] {
        defer { events = [] }
        return events
    }
}

/// A memfd. Its name is its own, so that its descriptors and mappings in this process can be counted.
final class IOASFile {
    let number: CInt
    private let name: String

    init(size: Int, sealed: Bool = false, hugePages: Bool = false) throws(Errno) {
        name = "ioas-\(UInt64.random(in: 0...UInt64.max))"
        // MFD_ALLOW_SEALING, MFD_HUGETLB.
        number = try unsafe clx_memfd(name, hugePages ? 2 | 4 : 2).orErrno()
        try resize(size)
        // F_ADD_SEALS, F_SEAL_SHRINK.
        if sealed { _ = try clx_fcntl(number, 1033, 2).orErrno() }
    }

    deinit { _ = Glibc.close(number) }

    func resize(_ size: Int) throws(Errno) {
        if ftruncate(number, size) != 0 { throw Errno(rawValue: errno) }
    }

    func fill(_ bytes: [UInt8], at offset: Int) throws(Errno) {
        // As many bytes as the array has.
        if unsafe pwrite(number, bytes, bytes.count, offset) != bytes.count { throw Errno(rawValue: errno) }
    }

    func bytes(_ count: Int, at offset: Int) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        // As many bytes as the array has.
        let got = unsafe pread(number, &bytes, count, offset)
        return Array(bytes.prefix(max(got, 0)))
    }

    var size: Int {
        var status = stat()
        return unsafe fstat(number, &status) == 0 ? status.st_size : -1
    }

    /// Descriptors of the file in this process.
    func descriptorCount() -> Int {
        (try? FileDescriptor.directory("/proc/self/fd").filter {
            var target = [CChar](repeating: 0, count: 256)
            // The buffer has room for one byte more.
            let count = unsafe readlink("/proc/self/fd/\($0)", &target, 255)
            return count > 0
                && String(decoding: target.prefix(count).map(UInt8.init), as: UTF8.self).contains(name)
        }.count) ?? -1
    }

    /// Bytes of each mapping of the file in this process.
    func mappings() -> [Int] {
        var sizes: [Int] = []
        for line in IOASFile.maps().split(separator: "\n") where line.contains(name) {
            let ends = line.prefix { $0 != " " }.split(separator: "-").compactMap { Int($0, radix: 16) }
            if ends.count == 2 { sizes.append(ends[1] - ends[0]) }
        }
        return sizes
    }

    private static func maps() -> String {
        guard let file = unsafe try? FileDescriptor.open("/proc/self/maps", .readOnly) else { return "" }
        defer { try? file.close() }
        var text: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while let count = try? unsafe buffer.withUnsafeMutableBytes({ unsafe try file.read(into: $0) }),
            count > 0
        {
            text += buffer.prefix(count)
        }
        return String(decoding: text, as: UTF8.self)
    }
}

extension FileDescriptor {
    /// The names in a directory.
    fileprivate static func directory(_ path: String) throws(Errno) -> [String] {
        guard let stream = unsafe opendir(path) else { throw Errno(rawValue: errno) }
        defer { _ = unsafe closedir(stream) }
        var names: [String] = []
        while let entry = unsafe readdir(stream) {
            // A name in an entry ends with a NUL within its field.
            unsafe withUnsafeBytes(of: entry.pointee.d_name) {
                names.append(unsafe String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self))
            }
        }
        return names
    }
}

/// An answer to a request.
struct IOASReply {
    let header: MessageHeader
    let payload: [UInt8]

    /// `nil` of a success.
    var error: Errno? { header.flags.contains(.error) ? header.error : nil }

    /// The payload's struct.
    func decoded<Payload: WirePayload>(_ type: Payload.Type) throws(Errno) -> Payload {
        var reader = Reader(payload.span)
        return try Payload(decoding: &reader)
    }
}

func encoded(ioas payload: some WirePayload) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 256)
    var span = bytes.mutableSpan
    var writer = Writer(&span)
    try? payload.encode(into: &writer)
    let count = writer.written
    return Array(bytes.prefix(count))
}
