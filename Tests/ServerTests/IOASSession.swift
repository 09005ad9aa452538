import CLinux
import Glibc
import SystemPackage
import Testing
import VFIOUserAddressSpace
import VFIOUserSystem
import VFIOUserTransport
import VFIOUserWire

@testable import VFIOUserServer

/// A device server and the raw client at the other end of its socket, both on the test's thread.
final class IOASSession {
    let server: DeviceServer
    let device = IOASDevice()
    private(set) var client: CInt
    private let input: InboundMessages
    private let output: OutboundMessages
    private var nextID: UInt16 = 7
    /// Messages of the server's log.
    private(set) var log: [String] = []
    /// The capabilities of the server's VERSION reply.
    private(set) var granted = ServerCapabilities()
    private(set) var versionText = ""

    static let everything: IOASFeatures = .all

    init(
        policy: IOASPolicy = .auto, iovas: IOVAPolicy = .opaque(), limit: Int = 65_535, dma: Bool = true,
        setUp: (DeviceServer) throws -> Void = { _ in }
    ) throws {
        var pair: [2 of CInt] = [-1, -1]
        var span = pair.mutableSpan
        // The call fills both elements.
        _ = try unsafe span.withUnsafeMutableBufferPointer { unsafe clx_socket_pair($0.baseAddress) }
            .orErrno()
        client = pair[0]
        input = try InboundMessages()
        output = try OutboundMessages()
        server = try DeviceServer(
            device, at: .connected(FileDescriptor(rawValue: pair[1])), waiting: .polling)
        try server.setIOASPolicy(policy, iovas: iovas)
        if dma { try server.enableDMA(maxRegions: limit) }
        try setUp(server)
        try server.realize()
        server.logHandler = { [unowned self] _, message in log.append(message) }
    }

    /// A session whose client has negotiated. `features` nil: legacy mode.
    convenience init(
        features: IOASFeatures?, iovas: IOVAPolicy = .opaque(), limit: Int = 65_535,
        setUp: (DeviceServer) throws -> Void = { _ in }
    ) throws {
        try self.init(iovas: iovas, limit: limit, setUp: setUp)
        var offered = ClientCapabilities()
        offered.iommufd = features
        try negotiate(String(decoding: offered.text().dropLast(), as: UTF8.self))
        device.events = []
    }

    deinit {
        server.close()
        leave()
    }

    /// The client goes.
    func leave() {
        if client >= 0 { _ = Glibc.close(client) }
        client = -1
    }

    /// Sends VERSION and lets the server attach.
    func negotiate(_ json: String) throws {
        try send(.version, encoded(ioas: Version(major: 0, minor: 2)) + Array(json.utf8) + [0])
        try server.attach()
        let reply = try receive()
        versionText = String(decoding: reply.payload.dropFirst(4).dropLast(), as: UTF8.self)
        var reader = Reader(reply.payload.span)
        _ = try Version(decoding: &reader)
        granted = try ServerCapabilities(decoding: &reader, readingIOMMUFD: true)
    }

    // MARK: Messages

    /// Sends a request and nothing else.
    @discardableResult
    func send(
        _ command: Command, _ payload: [UInt8], _ descriptors: [CInt] = [],
        flags: MessageHeader.Flags = []
    ) throws -> UInt16 {
        nextID += 1
        let header = MessageHeader(
            id: nextID, command: command, payloadByteCount: payload.count, flags: flags)
        try transmit(header, payload, descriptors)
        return nextID
    }

    func transmit(_ header: MessageHeader, _ payload: [UInt8], _ descriptors: [CInt] = []) throws {
        let messages = output
        var writer = Writer(try messages.payload(capacity: payload.count, to: client))
        try writer.append(payload.span)
        messages.commit(header, count: payload.count)
        try messages.flush(to: client, descriptors: descriptors)
    }

    /// The next message from the server, which must be there.
    func receive() throws -> IOASReply {
        let messages = input
        while true {
            if case .message(let header, let length) = messages.head() {
                var reader = Reader(messages.payload(length: length))
                let payload = unsafe reader.rest().withUnsafeBytes { unsafe Array($0) }
                messages.consume(length)
                return IOASReply(header: header, payload: payload)
            }
            guard messages.receive(from: client, blocking: false) == .received else { throw Errno.noMessage }
        }
    }

    /// Whether the server has sent nothing that was not received.
    var isSilent: Bool { input.isEmpty && input.receive(from: client, blocking: false) == .wouldBlock }

    /// Has a request carried out.
    func call(
        _ command: Command, _ payload: [UInt8], _ descriptors: [CInt] = []
    ) throws -> IOASReply {
        let id = try send(command, payload, descriptors)
        _ = try server.poll()
        let reply = try receive()
        #expect(reply.header.id == id)
        #expect(reply.header.command == command.rawValue)
        if reply.error != nil { #expect(reply.payload.isEmpty) }
        return reply
    }

    /// Has a request carried out that succeeds.
    func succeed(
        _ command: Command, _ payload: some WirePayload, _ descriptors: [CInt] = []
    ) throws -> IOASReply {
        let reply = try call(command, encoded(ioas: payload), descriptors)
        if let error = reply.error { throw error }
        return reply
    }

    /// The error of a request; `nil` if it succeeds.
    func error(
        of command: Command, _ payload: some WirePayload, _ descriptors: [CInt] = []
    ) throws -> Errno? {
        try call(command, encoded(ioas: payload), descriptors).error
    }

    // MARK: Commands

    func allocate() throws -> UInt32 {
        try succeed(.ioasAlloc, IOASAlloc()).decoded(IOASAlloc.self).ioasID
    }

    /// IOAS_MAP; returns the IOVA.
    @discardableResult
    func map(
        _ id: UInt32, _ file: IOASFile?, at iova: UInt64? = nil, length: UInt64 = 4096, offset: UInt64 = 0,
        rights: IOASMapFlags = [.readable, .writeable], userVA: UInt64 = 0
    ) throws -> UInt64 {
        var flags = rights
        if iova != nil { flags.insert(.fixedIOVA) }
        let request = VFIOUserWire.IOASMap(
            ioasID: id, flags: flags, userVA: userVA, length: length, iova: iova ?? 0, offset: offset)
        return try succeed(.ioasMap, request, file.map { [$0.number] } ?? [])
            .decoded(VFIOUserWire.IOASMap.self).iova
    }

    func unmap(_ id: UInt32, _ iova: UInt64, _ length: UInt64) throws {
        _ = try succeed(.ioasUnmap, IOASUnmap(ioasID: id, iova: iova, length: length))
    }

    func unmapAll(_ id: UInt32) throws {
        _ = try succeed(.ioasUnmap, IOASUnmap(ioasID: id, flags: .all, iova: 0, length: 0))
    }

    @discardableResult
    func copy(
        _ source: UInt32, _ iova: UInt64, _ length: UInt64, to target: UInt32, at fixed: UInt64? = nil,
        rights: IOASMapFlags = [.readable, .writeable]
    ) throws -> UInt64 {
        var flags = rights
        if fixed != nil { flags.insert(.fixedIOVA) }
        let request = IOASCopy(
            sourceID: source, destinationID: target, flags: flags, sourceIOVA: iova,
            destinationIOVA: fixed ?? 0, length: length)
        return try succeed(.ioasCopy, request).decoded(IOASCopy.self).destinationIOVA
    }

    func attach(_ id: UInt32) throws { _ = try succeed(.attachPT, AttachPT(ioasID: id)) }

    func detach() throws { _ = try succeed(.detachPT, DetachPT()) }

    func destroy(_ id: UInt32) throws { _ = try succeed(.ioasDestroy, IOASDestroy(ioasID: id)) }

    // MARK: What the device does

    /// vfu_addr_to_sgl: the entries, or why there are none.
    func translate(
        _ address: UInt64, _ length: UInt64 = 1, _ rights: AccessRights = .read
    ) -> Result<[SGEntry], Errno> {
        server.translation(address, length, rights)
    }

    func sees(_ address: UInt64, _ length: UInt64 = 1) -> Bool {
        if case .success = translate(address, length) { return true }
        return false
    }

    /// The error of a translation.
    func translationError(
        _ address: UInt64, _ length: UInt64 = 1, _ rights: AccessRights = .read
    ) -> Errno? {
        if case .failure(let error) = translate(address, length, rights) { return error }
        return nil
    }

    func peek(_ address: UInt64, _ count: Int, directly: Bool = true) throws -> [UInt8] {
        try server.peek(address, count, directly: directly)
    }

    func poke(_ address: UInt64, _ bytes: [UInt8], directly: Bool = true) throws {
        try server.poke(address, bytes, directly: directly)
    }
}

extension DeviceServer {
    func translation(
        _ address: UInt64, _ length: UInt64 = 1, _ rights: AccessRights = .read
    ) -> Result<[SGEntry], Errno> {
        var entries = [SGEntry](repeating: SGEntry(), count: 16)
        do throws(Errno) {
            // Room for as many entries as is said.
            let count = try unsafe translator.translate(
                address, length, rights, into: &entries, capacity: entries.count)
            return .success(Array(entries.prefix(max(count, 0))))
        } catch { return .failure(error) }
    }

    /// Copies client memory.
    func peek(_ address: UInt64, _ count: Int, directly: Bool = true) throws -> [UInt8] {
        var bytes: [UInt8] = []
        for entry in try translation(address, UInt64(count)).get() {
            var piece = [UInt8](repeating: 0, count: Int(entry.length))
            // As many bytes as the entry has.
            try unsafe read(entry, into: &piece, directly: directly)
            bytes += piece
        }
        return bytes
    }

    /// Copies to client memory.
    func poke(_ address: UInt64, _ bytes: [UInt8], directly: Bool = true) throws {
        var rest = bytes[...]
        for entry in try translation(address, UInt64(bytes.count), .write).get() {
            let piece = Array(rest.prefix(Int(entry.length)))
            rest = rest.dropFirst(piece.count)
            // As many bytes as the entry has.
            try unsafe write(entry, from: piece, directly: directly)
        }
    }
}

/// The errno that a body throws.
func errno(ioas body: () throws -> Void) -> Errno? {
    do {
        try body()
        return nil
    } catch { return error as? Errno }
}
