import CLinux
import Glibc
import SystemPackage
import VFIOUserAddressSpace
import VFIOUserServer
import VFIOUserTransport
import VFIOUserWire

/// A device that knows what it was told of.
final class FuzzDevice: Device {
    var known: [UInt64: UInt64] = [:]
    var attached: UInt32?

    func dmaRegionAdded(_ region: DMARegion, on server: DeviceServer) { known[region.address] = region.size }

    func dmaRegionRemoved(_ region: DMARegion, on server: DeviceServer) {
        guard known.removeValue(forKey: region.address) == region.size else {
            fatalError("the end of an unknown region \(region.address)")
        }
    }

    func addressSpaceChanged(to id: UInt32?, on server: DeviceServer) {
        guard known.isEmpty else { fatalError("changed with \(known) registered") }
        attached = id
    }
}

/// The memory file: each byte follows from its place.
final class FuzzFile: Sendable {
    let number: CInt

    static let shared = FuzzFile()

    private init() {
        number = unsafe clx_memfd("fuzz", 0)
        let bytes = (0..<Int(Model.fileSize)).map { FuzzFile.byte(UInt64($0)) }
        // As many bytes as the array has.
        guard unsafe write(number, bytes, bytes.count) == bytes.count else { fatalError("memfd") }
    }

    static func byte(_ offset: UInt64) -> UInt8 { UInt8(truncatingIfNeeded: offset &* 0x9e37_79b9 >> 13) }
}

/// A server, its device and its client, all on this thread.
final class Bench {
    let device = FuzzDevice()
    let server: DeviceServer
    private var client: CInt
    private let input: InboundMessages
    private let output: OutboundMessages
    private var nextID: UInt16 = 0

    init(isLegacy: Bool) throws(Errno) {
        var pair: [2 of CInt] = [-1, -1]
        var span = pair.mutableSpan
        // The call fills both elements.
        guard (unsafe span.withUnsafeMutableBufferPointer { unsafe clx_socket_pair($0.baseAddress) }) == 0
        else { fatalError("socketpair") }
        client = pair[0]
        input = try InboundMessages()
        output = try OutboundMessages()
        server = try DeviceServer(
            device, at: .connected(FileDescriptor(rawValue: pair[1])), waiting: .polling)
        try server.setIOASPolicy(.auto, iovas: .opaque(window: Model.window))
        try server.enableDMA(maxRegions: Model.limit)
        try server.realize()
        var capabilities = ClientCapabilities()
        if !isLegacy { capabilities.iommufd = .all }
        try send(.version, Bench.bytes(Version(major: 0, minor: 2)) + capabilities.text(), [])
        try server.attach()
        _ = try receive()
    }

    /// The client goes: nothing may be left.
    func finish() {
        _ = close(client)
        client = -1
        while server.isAttached { _ = try? server.poll() }
        guard device.known.isEmpty, device.attached == nil else { fatalError("left: \(device.known)") }
        server.close()
    }

    static func bytes(_ payload: some WirePayload) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 64)
        var span = bytes.mutableSpan
        var writer = Writer(&span)
        try? payload.encode(into: &writer)
        let count = writer.written
        return Array(bytes.prefix(count))
    }

    private func send(_ command: Command, _ payload: [UInt8], _ descriptors: [CInt]) throws(Errno) {
        nextID &+= 1
        let messages = output
        var writer = Writer(try messages.payload(capacity: payload.count, to: client))
        try writer.append(payload.span)
        messages.commit(
            MessageHeader(id: nextID, command: command, payloadByteCount: payload.count), count: payload.count
        )
        try messages.flush(to: client, descriptors: descriptors)
    }

    private func receive() throws(Errno) -> (header: MessageHeader, payload: [UInt8]) {
        let messages = input
        while true {
            if case .message(let header, let length) = messages.head() {
                var reader = Reader(messages.payload(length: length))
                let payload = unsafe reader.rest().withUnsafeBytes { unsafe Array($0) }
                messages.consume(length)
                return (header, payload)
            }
            guard messages.receive(from: client, blocking: false) == .received else { throw .noMessage }
        }
    }

    /// A request's errno, or its reply.
    func request(
        _ command: Command, _ payload: [UInt8], files: Int = 0
    ) -> Result<[UInt8], Errno> {
        do throws(Errno) {
            try send(command, payload, Array(repeating: FuzzFile.shared.number, count: files))
            _ = try server.poll()
            let (header, payload) = try receive()
            guard header.id == nextID, header.command == command.rawValue else { fatalError("another reply") }
            if header.flags.contains(.error) {
                guard payload.isEmpty else { fatalError("an error with a payload") }
                return .failure(header.error)
            }
            return .success(payload)
        } catch { fatalError("\(command): \(error)") }
    }

    func request(
        _ command: Command, _ payload: some WirePayload, files: Int = 0
    ) -> Result<[UInt8], Errno> {
        request(command, Bench.bytes(payload), files: files)
    }

    /// What the server makes of an address.
    func translate(
        _ address: UInt64, _ length: UInt64, read: Bool, write: Bool, capacity: Int
    ) -> (Model.Answer, [SGEntry]) {
        var rights: AccessRights = []
        if read { rights.insert(.read) }
        if write { rights.insert(.write) }
        var entries = [SGEntry](repeating: SGEntry(), count: max(capacity, 1))
        do throws(Errno) {
            // Room for at least as many entries as is said.
            let count = try unsafe server.translator.translate(
                address, length, rights, into: &entries, capacity: capacity)
            if count < 0 { return (.tooMany(-count - 1), []) }
            let found = entries.prefix(count)
            return (
                .pieces(found.map { Model.Piece(base: $0.base, offset: $0.offset, length: $0.length) }),
                Array(found)
            )
        } catch { return (.error(error), []) }
    }
}
