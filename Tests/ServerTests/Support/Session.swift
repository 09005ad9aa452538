import Glibc
import SystemPackage
import Testing
import VFIOUserServer
import VFIOUserWire

/// A polled server and a client that is connected to it, both on the test's thread.
final class Session {
    let device: TestDevice
    let server: DeviceServer
    let peer: RawPeer
    /// The second socket, if the client asked for one.
    private(set) var twin: RawPeer?

    /// - Parameter capabilities: what the client says in VERSION; nil for no text at all. `nil` for
    ///   `configure` leaves the server as ``TestDevice/server(at:waiting:)`` makes it.
    init(
        _ capabilities: String? = nil, device: TestDevice = TestDevice(),
        configure: ((DeviceServer) throws -> Void)? = nil
    ) throws {
        let (ours, theirs) = try File.socketPair()
        self.device = device
        server = try device.server(at: .connected(FileDescriptor(rawValue: dup(theirs))))
        peer = RawPeer(ours)
        try configure?(server)
        try server.realize()
        try negotiate(capabilities)
    }

    private func negotiate(_ capabilities: String?) throws {
        try peer.request(.version, versionPayload(capabilities))
        try server.attach()
        let reply = try peer.receive()
        #expect(reply.error == nil)
        if let file = reply.files.first { twin = RawPeer(file) }
    }

    /// Sends a request, lets the server work, and returns the reply.
    @discardableResult
    func call(
        _ command: Command, _ payload: [UInt8] = [], _ files: [File] = [], flags: UInt32 = 0,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws -> Received {
        let id = try peer.request(command, payload, files, flags: flags)
        #expect(try server.poll() == 1, sourceLocation: sourceLocation)
        let reply = try peer.receive()
        #expect(reply.header.id == id, sourceLocation: sourceLocation)
        #expect(reply.header.command == command.rawValue, sourceLocation: sourceLocation)
        let isError = reply.header.flags.contains(.error)
        #expect(
            reply.header.flags.rawValue == (isError ? .isError : .isReply), sourceLocation: sourceLocation)
        if isError { #expect(reply.payload.isEmpty, sourceLocation: sourceLocation) }
        return reply
    }

    /// A request that has to succeed; its reply's payload.
    @discardableResult
    func succeed(
        _ command: Command, _ payload: [UInt8] = [], _ files: [File] = [],
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws -> [UInt8] {
        let reply = try call(command, payload, files, sourceLocation: sourceLocation)
        #expect(reply.error == nil, sourceLocation: sourceLocation)
        return reply.payload
    }

    /// A request that has to fail.
    func fail(
        _ error: Errno = .invalidArgument, _ command: Command, _ payload: [UInt8] = [], _ files: [File] = [],
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let reply = try call(command, payload, files, sourceLocation: sourceLocation)
        #expect(reply.error == error, sourceLocation: sourceLocation)
    }

    func map(
        _ address: UInt64, _ size: UInt64, _ file: File? = nil, flags: DMAMap.Flags = [.read, .write],
        offset: UInt64 = 0, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        try succeed(
            .dmaMap, encoded(DMAMap(flags: flags, offset: offset, address: address, size: size)),
            file.map { [$0] } ?? [], sourceLocation: sourceLocation)
    }

    func unmap(_ address: UInt64, _ size: UInt64, sourceLocation: SourceLocation = #_sourceLocation) throws {
        try succeed(
            .dmaUnmap, encoded(DMAUnmap(address: address, size: size)), sourceLocation: sourceLocation)
    }

    func readRegion(
        _ region: RegionIndex, _ offset: UInt64, _ count: UInt32,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws -> [UInt8] {
        let access = encoded(RegionAccess(offset: offset, region: region.rawValue, count: count))
        let payload = try succeed(.regionRead, access, sourceLocation: sourceLocation)
        #expect(Array(payload.prefix(16)) == access, sourceLocation: sourceLocation)
        return Array(payload.dropFirst(16))
    }

    func writeRegion(
        _ region: RegionIndex, _ offset: UInt64, _ data: [UInt8],
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let access = encoded(
            RegionAccess(offset: offset, region: region.rawValue, count: UInt32(data.count)))
        #expect(
            try succeed(.regionWrite, access + data, sourceLocation: sourceLocation) == access,
            sourceLocation: sourceLocation)
    }

    /// Lets the server see that the client has gone.
    func expectDisconnect(sourceLocation: SourceLocation = #_sourceLocation) {
        #expect(throws: Errno.socketNotConnected, sourceLocation: sourceLocation) { try server.poll() }
    }
}

/// The payload of VERSION 0.2 with a text, or without any.
func versionPayload(_ capabilities: String?, major: UInt16 = 0, minor: UInt16 = 2) -> [UInt8] {
    bytes(major, minor) + (capabilities.map { Array($0.utf8) + [0] } ?? [])
}

/// The text of a client that wants a second socket.
let twinCapabilities = #"{"capabilities":{"max_msg_fds":8,"twin_socket":{"supported":true}}}"#

/// Another descriptor of the same file, for somebody who will close it.
func dup(_ file: File) -> CInt { fcntl(file.number, F_DUPFD_CLOEXEC, 3) }
