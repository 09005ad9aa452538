import CLinux
import Glibc
import SystemPackage
import Testing
import VFIOUserWire

@testable import VFIOUserServer

extension Received {
    /// A struct of the payload.
    func decode<Payload: WirePayload>(_ type: Payload.Type, at offset: Int = 0) throws -> Payload {
        try decoded(type, Array(payload.dropFirst(offset)))
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
func payload<each Payload: WirePayload>(_ parts: repeat each Payload, then data: [UInt8] = []) -> [UInt8] {
    var bytes: [UInt8] = []
    for part in repeat each parts { bytes += encoded(part) }
    return bytes + data
}

/// A client of a device that can be migrated. It polls the server itself.
final class MigrationClient {
    let server: DeviceServer
    let peer: RawPeer
    /// What the server said about itself.
    private(set) var version = ServerCapabilities()

    /// Serves the device and negotiates.
    convenience init(
        _ device: any Device, maxTransfer: Int = Limits.maxTransferByteCount, dma: Bool = true,
        migration: Bool = true
    ) throws {
        let (ours, theirs) = try File.socketPair()
        let server = try DeviceServer(
            device, at: .connected(FileDescriptor(rawValue: dup(theirs))), waiting: .polling)
        if dma { try server.enableDMA() }
        if migration { try server.enableMigration() }
        try server.setRegion(.bar0, Region(size: 4096, flags: [.readWrite, .memory]))
        var offered = ClientCapabilities()
        offered.maxTransferByteCount = maxTransfer
        try self.init(server, by: RawPeer(ours), offered)
    }

    /// Finishes a server that finds the other end of the socket, and negotiates with it.
    init(
        _ server: DeviceServer, by peer: RawPeer, _ offered: ClientCapabilities = ClientCapabilities()
    ) throws {
        self.server = server
        self.peer = peer
        try server.realize()
        try peer.request(.version, payload(Version.current, then: offered.text()))
        try server.attach()
        let text = try peer.receive().payload
        var reader = Reader(text.span)
        _ = try Version(decoding: &reader)
        version = try ServerCapabilities(decoding: &reader, readingIOMMUFD: false)
    }

    /// Closes the connection, though not the descriptor.
    func leave() { _ = shutdown(peer.number, CInt(SHUT_RDWR)) }

    /// Sends a request, lets the server carry it out, and receives the reply.
    func call(_ command: Command, _ payload: [UInt8] = [], _ files: [File] = []) throws -> Received {
        try peer.request(command, payload, files)
        _ = try server.poll()
        return try peer.receive()
    }

    /// The same for messages that are longer than the socket holds: another thread plays the client.
    func callAtLength(_ command: Command, _ payload: [UInt8]) throws -> Received {
        var reply: Result<Received, any Error>?
        let peer = peer
        let client = Background {
            reply = Result {
                try peer.request(command, payload)
                return try peer.receive()
            }
        }
        let polled = Result {
            var handled = 0
            while handled == 0 {
                pause(1)
                handled = try server.poll()
            }
        }
        client.join()
        try polled.get()
        return try #require(reply).get()
    }
}

// MARK: Requests

extension MigrationClient {
    /// DEVICE_FEATURE with an `argsz` that is enough, if none is given.
    func feature(
        _ feature: DeviceFeature.Feature, _ operations: DeviceFeature.Flags, then data: [UInt8] = [],
        argsz: UInt32? = nil
    ) throws -> Received {
        let head = DeviceFeature(
            DeviceFeature.Flags(feature, operations), argsz: argsz ?? UInt32(max(8 + data.count, 16)))
        return try call(.deviceFeature, payload(head, then: data))
    }

    /// Takes the device to a state.
    func setState(_ state: MigrationDeviceState.State) throws -> Received {
        try feature(.migDeviceState, .set, then: payload(MigrationDeviceState(state)))
    }

    /// The device's state.
    func state() throws -> MigrationDeviceState.State? {
        try feature(.migDeviceState, .get).decode(MigrationDeviceState.self, at: 8).state
    }

    func startLogging(_ pageSize: UInt64) throws -> Received {
        try feature(.dmaLoggingStart, .set, then: payload(DMALoggingStart(pageSize: pageSize)))
    }

    /// A report; `argsz` is enough for the longest.
    func report(
        _ iova: UInt64, _ length: UInt64, _ pageSize: UInt64, argsz: UInt32 = 1 << 30, isLong: Bool = false
    ) throws -> Received {
        let request = payload(
            DeviceFeature(DeviceFeature.Flags(.dmaLoggingReport, .get), argsz: argsz),
            DMALoggingReport(iova: iova, length: length, pageSize: pageSize))
        return isLong ? try callAtLength(.deviceFeature, request) : try call(.deviceFeature, request)
    }

    /// The bits of a report that must succeed.
    func bits(_ iova: UInt64, _ length: UInt64, _ pageSize: UInt64) throws -> [UInt64] {
        let reply = try report(iova, length, pageSize)
        if let error = reply.error { throw error }
        return try reply.words(from: 32)
    }

    func map(
        _ iova: UInt64, _ size: UInt64, _ file: File?, _ flags: DMAMap.Flags = [.read, .write],
        offset: UInt64 = 0
    ) throws -> Received {
        try call(
            .dmaMap, payload(DMAMap(flags: flags, offset: offset, address: iova, size: size)),
            file.map { [$0] } ?? [])
    }

    func unmap(_ iova: UInt64, _ size: UInt64, bitmap: DMAUnmap.BitmapRequest? = nil) throws -> Received {
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
