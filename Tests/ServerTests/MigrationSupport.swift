import CLinux
import Glibc
import SystemPackage
import Testing
import VFIOUserAddressSpace
import VFIOUserSystem
import VFIOUserWire

@testable import VFIOUserServer

/// What the server answered.
struct MigrationReply {
    let header: MessageHeader
    let payload: [UInt8]

    /// The errno of an error reply, which has no payload; nil of a success.
    var error: Errno? {
        guard header.flags.contains(.error) else { return nil }
        return Errno(rawValue: CInt(bitPattern: header.errorNumber))
    }

    /// A struct of the payload.
    func decode<Payload: WirePayload>(_ type: Payload.Type, at offset: Int = 0) throws -> Payload {
        var reader = Reader(payload.span)
        _ = try reader.take(offset)
        return try Payload(decoding: &reader)
    }

    /// The 64-bit words from some byte on.
    func words(from offset: Int) throws -> [UInt64] {
        var reader = Reader(payload.span)
        _ = try reader.take(offset)
        var words: [UInt64] = []
        while reader.remaining >= 8 { words.append(reader.uint64()) }
        return words
    }
}

/// The bytes of structs, one after the other, and then of data.
func payload<each Payload: WirePayload>(
    _ parts: repeat each Payload, then data: [UInt8] = []
) throws -> [UInt8] {
    var buffer = [UInt8](repeating: 0, count: 4096)
    var span = buffer.mutableSpan
    var writer = Writer(&span)
    for part in repeat each parts { try part.encode(into: &writer) }
    let count = writer.written
    return buffer[..<count] + data
}

/// A client that is nothing but the other end of a server's socket, and polls that server itself.
final class MigrationClient {
    let server: DeviceServer
    let socket: OwnedFD
    /// The VERSION reply.
    private(set) var version: MigrationReply
    private var nextID: UInt16 = 100

    /// Serves the device and negotiates.
    convenience init(
        _ device: any Device, maxTransfer: Int = Limits.maxTransferByteCount, dma: Bool = true,
        migration: Bool = true, _ setUp: (DeviceServer) throws -> Void = { _ in }
    ) throws {
        let (near, far) = try Self.socketPair()
        let server = try DeviceServer(
            device, at: .connected(FileDescriptor(rawValue: far)), waiting: .polling)
        if dma { try server.enableDMA() }
        if migration { try server.enableMigration() }
        try server.setRegion(.bar0, Region(size: 4096, flags: [.readWrite, .memory]))
        try setUp(server)
        var offered = ClientCapabilities()
        offered.maxTransferByteCount = maxTransfer
        try self.init(server, by: near, offered)
    }

    /// Finishes a server that finds the other end of the socket, which is taken over, and negotiates with it.
    init(
        _ server: DeviceServer, by socket: CInt, _ offered: ClientCapabilities = ClientCapabilities()
    ) throws {
        self.server = server
        self.socket = OwnedFD(adopting: socket)
        version = MigrationReply(header: MessageHeader(id: 0, command: 0, size: 0), payload: [])
        try server.realize()
        try send(.version, payload(Version.current, then: offered.text()), id: 1)
        try server.attach()
        version = try receive()
    }

    /// Two connected sockets, the caller's.
    static func socketPair() throws -> (near: CInt, far: CInt) {
        var pair: [CInt] = [-1, -1]
        // Two elements, as the call fills.
        _ = try unsafe clx_socket_pair(&pair).orErrno()
        var limit = timeval(tv_sec: 30, tv_usec: 0)
        // A whole timeval. A test that goes wrong ends.
        unsafe setsockopt(
            pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        return (pair[0], pair[1])
    }

    /// Sends a request, polling the server when the socket is full.
    func send(
        _ command: Command, _ payload: [UInt8] = [], descriptor: CInt? = nil, flags: MessageHeader.Flags = [],
        id: UInt16? = nil
    ) throws {
        nextID &+= 1
        let header = MessageHeader(
            id: id ?? nextID, command: command, payloadByteCount: payload.count, flags: flags)
        let bytes = try VFIOUserServerTests.payload(header, then: payload)
        let descriptors = descriptor.map { [$0] } ?? []
        var sent = 0
        while sent < bytes.count {
            let count = unsafe bytes.withUnsafeBytes { bytes in
                // The rest of the message, which is only read.
                var vector = unsafe iovec(
                    iov_base: UnsafeMutableRawPointer(mutating: bytes.baseAddress.map { unsafe $0 + sent }),
                    iov_len: bytes.count - sent)
                return unsafe clx_send(
                    socket.number, &vector, 1, descriptors, sent == 0 ? descriptors.count : 0,
                    CInt(MSG_DONTWAIT))
            }
            if count == -Int(EAGAIN) {
                _ = try server.poll()
            } else if count < 0 {
                throw Errno(rawValue: CInt(clamping: -count))
            } else {
                sent += count
            }
        }
    }

    /// Receives one message.
    ///
    /// - Throws: `ENOTCONN` at the end of the connection.
    func receive() throws -> MigrationReply {
        let head = try receive(MessageHeader.byteCount)
        var reader = Reader(head.span)
        let header = try MessageHeader(decoding: &reader)
        let rest = Int(header.size) - MessageHeader.byteCount
        return MigrationReply(header: header, payload: rest > 0 ? try receive(rest) : [])
    }

    private func receive(_ count: Int) throws -> [UInt8] {
        try unsafe [UInt8](unsafeUninitializedCapacity: count) { buffer, done in
            while done < count {
                // What is left of the buffer.
                let received = unsafe recv(
                    socket.number, buffer.baseAddress.map { unsafe $0 + done }, count - done, 0)
                if received < 0 { throw Errno(rawValue: errno) }
                if received == 0 { throw Errno.socketNotConnected }
                done += received
            }
        }
    }

    /// Closes the connection, though not the descriptor.
    func leave() { _ = shutdown(socket.number, CInt(SHUT_RDWR)) }

    /// Whether nothing has come.
    var hasNothing: Bool {
        var byte: UInt8 = 0
        // One byte of room, which is not taken from the socket.
        let count = unsafe recv(socket.number, &byte, 1, CInt(MSG_DONTWAIT | MSG_PEEK))
        return count < 0 && errno == EAGAIN
    }

    /// Sends a request, lets the server carry it out, and receives the reply.
    func call(
        _ command: Command, _ payload: [UInt8] = [], descriptor: CInt? = nil
    ) throws -> MigrationReply {
        try send(command, payload, descriptor: descriptor)
        _ = try server.poll()
        return try receive()
    }

    /// The same for a reply that is longer than the socket holds: it is received by another thread.
    func callForLongReply(_ command: Command, _ payload: [UInt8]) throws -> MigrationReply {
        try send(command, payload)
        var reply: Result<MigrationReply, any Error>?
        let worker = Worker { [self] in reply = Result { try receive() } }
        let polled = Result { try server.poll() }
        worker.join()
        _ = try polled.get()
        return try #require(reply).get()
    }
}

/// A socket connected to a path, the caller's.
func connect(to path: String) throws -> CInt {
    // A Swift string goes to C as its bytes and a NUL.
    try unsafe clx_unix_connect(path).orErrno()
}

/// Something done on a thread of its own.
final class Worker {
    private final class Body {
        let run: () -> Void
        init(_ run: @escaping () -> Void) { self.run = run }
    }

    private var thread = pthread_t()

    /// The closure must be safe to run beside what the caller does.
    init(_ run: @escaping () -> Void) {
        // The thread takes over the one reference.
        let body = unsafe Unmanaged.passRetained(Body(run)).toOpaque()
        let result = unsafe pthread_create(
            &thread, nil,
            { body in
                guard let body = unsafe body else { return nil }
                // As it was passed.
                unsafe Unmanaged<Body>.fromOpaque(body).takeRetainedValue().run()
                return nil
            }, body)
        precondition(result == 0, "no thread")
    }

    /// Waits for it to end.
    func join() { pthread_join(thread, nil) }
}

// MARK: Requests

extension MigrationClient {
    /// DEVICE_FEATURE with an `argsz` that is enough, if none is given.
    func feature(
        _ feature: DeviceFeature.Feature, _ operations: DeviceFeature.Flags, then data: [UInt8] = [],
        argsz: UInt32? = nil
    ) throws -> MigrationReply {
        let head = DeviceFeature(
            DeviceFeature.Flags(feature, operations), argsz: argsz ?? UInt32(max(8 + data.count, 16)))
        return try call(.deviceFeature, payload(head, then: data))
    }

    /// Takes the device to a state.
    func setState(_ state: MigrationDeviceState.State) throws -> MigrationReply {
        try feature(.migDeviceState, .set, then: payload(MigrationDeviceState(state)))
    }

    /// The device's state.
    func state() throws -> MigrationDeviceState.State? {
        try feature(.migDeviceState, .get).decode(MigrationDeviceState.self, at: 8).state
    }

    func startLogging(_ pageSize: UInt64) throws -> MigrationReply {
        try feature(.dmaLoggingStart, .set, then: payload(DMALoggingStart(pageSize: pageSize)))
    }

    /// A report; `argsz` is enough for the longest.
    func report(
        _ iova: UInt64, _ length: UInt64, _ pageSize: UInt64, argsz: UInt32 = 1 << 30, isLong: Bool = false
    ) throws -> MigrationReply {
        let request = try payload(
            DeviceFeature(DeviceFeature.Flags(.dmaLoggingReport, .get), argsz: argsz),
            DMALoggingReport(iova: iova, length: length, pageSize: pageSize))
        return isLong ? try callForLongReply(.deviceFeature, request) : try call(.deviceFeature, request)
    }

    /// The bits of a report that must succeed.
    func bits(_ iova: UInt64, _ length: UInt64, _ pageSize: UInt64) throws -> [UInt64] {
        let reply = try report(iova, length, pageSize)
        if let error = reply.error { throw error }
        return try reply.words(from: 32)
    }

    func map(
        _ iova: UInt64, _ size: UInt64, _ descriptor: CInt?, _ flags: DMAMap.Flags = [.read, .write],
        offset: UInt64 = 0
    ) throws -> MigrationReply {
        try call(
            .dmaMap, payload(DMAMap(flags: flags, offset: offset, address: iova, size: size)),
            descriptor: descriptor)
    }

    func unmap(_ iova: UInt64, _ size: UInt64, bitmap: DMAUnmap.BitmapRequest? = nil) throws -> MigrationReply
    {
        let unmap =
            if let bitmap {
                DMAUnmap(address: iova, size: size, bitmap: bitmap)
            } else {
                DMAUnmap(address: iova, size: size)
            }
        return try call(.dmaUnmap, payload(unmap))
    }
}

extension MigrationDeviceState.State {
    /// The same state on the wire.
    init(_ state: MigrationState) { self = Self(rawValue: state.rawValue) ?? .error }
}
