import Glibc
import SystemPackage
import Testing
import VFIOUserWire

@testable import VFIOUserServer

/// VERSION: what is refused, what is granted (vfio-user protocol, VERSION).
@Suite struct NegotiationTests {
    /// A server that has a client but has not begun to talk to it.
    struct Meeting {
        let device = TestDevice()
        let server: DeviceServer
        let peer: RawPeer

        init(configure: (DeviceServer) throws -> Void = { _ in }) throws {
            let (peer, theirs) = try RawPeer.pair()
            server = try device.server(at: .connected(theirs))
            try configure(server)
            try server.realize()
            self.peer = peer
        }

        func capabilities(_ text: String?) throws -> ServerCapabilities {
            try peer.request(.version, versionPayload(text))
            try server.attach()
            let reply = try peer.receive()
            return try decodedCapabilities(reply.payload)
        }

        func decodedCapabilities(_ payload: [UInt8]) throws -> ServerCapabilities {
            var reader = Reader(payload.span)
            _ = try Version(decoding: &reader)
            return try ServerCapabilities(decoding: &reader, readingIOMMUFD: false)
        }
    }

    /// What a client sends before it closes, and what becomes of it.
    struct Refusal: CustomTestStringConvertible {
        let testDescription: String
        let bytes: [UInt8]
        let error: Errno
        /// The command of the error reply; nil: none is sent.
        let reply: UInt16?
        let closes: Bool

        init(_ name: String, _ bytes: [UInt8], _ error: Errno, reply: UInt16? = nil, closes: Bool = false) {
            testDescription = name
            self.bytes = bytes
            self.error = error
            self.reply = reply
            self.closes = closes
        }
    }

    static let version = message(.version, versionPayload(nil), id: 7)

    static let refusals: [Refusal] =
        [Refusal("nothing", [], .noMessage, closes: true)]
        + (1..<16).map {
            Refusal("\($0) bytes", Array(version.prefix($0)), .connectionReset, closes: true)
        }
        + [
            Refusal("no body", Array(version.prefix(16)), .noMessage, closes: true),
            Refusal("half a body", Array(version.prefix(18)), .connectionReset, closes: true),
        ]
        + [1, 2, 15].map { (type: UInt32) in
            Refusal("type \(type)", message(.version, versionPayload(nil), flags: type), .invalidArgument)
        }
        + [0, 15, 1_048_609, .max].map { (size: UInt32) in
            Refusal("size \(size)", message(1, versionPayload(nil), size: size), .invalidArgument)
        }
        + [0, 2, 13, 14, 19, 0xffff].map { (command: UInt16) in
            Refusal(
                "command \(command)", message(command, versionPayload(nil), id: 7), .invalidArgument,
                reply: command)
        }
        + (0..<4).map { count in
            Refusal(
                "\(count) bytes of payload",
                message(.version, Array(versionPayload(nil).prefix(count)), id: 7), .invalidArgument, reply: 1
            )
        }
        + [1, 0xffff].map { (major: UInt16) in
            Refusal(
                "major \(major)", message(.version, versionPayload(nil, major: major), id: 7),
                .invalidArgument, reply: 1)
        }
        + [
            "", "null", "{", #"{"capabilities":[]}"#, #"{"capabilities":null}"#,
            #"{"capabilities":{"max_msg_fds":-1}}"#, #"{"capabilities":{"max_msg_fds":1025}}"#,
            #"{"capabilities":{"max_msg_fds":"8"}}"#, #"{"capabilities":{"max_data_xfer_size":0}}"#,
            #"{"capabilities":{"max_data_xfer_size":-1}}"#, #"{"capabilities":{"twin_socket":true}}"#,
            #"{"capabilities":{"twin_socket":{"supported":1}}}"#, #"{"capabilities":{"migration":4096}}"#,
        ].map { Refusal($0, message(.version, versionPayload($0), id: 7), .invalidArgument, reply: 1) }
        + [
            Refusal(
                "no NUL", message(.version, versionPayload(nil) + Array("{}".utf8), id: 7), .invalidArgument,
                reply: 1)
        ]

    @Test(arguments: refusals) func refused(_ refusal: Refusal) throws {
        let meeting = try Meeting()
        if !refusal.bytes.isEmpty { try meeting.peer.send(refusal.bytes) }
        if refusal.closes { meeting.peer.endSending() }
        #expect(throws: refusal.error) { try meeting.server.attach() }
        #expect(!meeting.server.isAttached)
        if let command = refusal.reply {
            let reply = try meeting.peer.receive()
            #expect(reply.header.id == 7)
            #expect(reply.header.command == command)
            #expect(reply.header.flags.rawValue == .isError)
            #expect(reply.error == .invalidArgument)
            #expect(reply.payload.isEmpty)
        }
        #expect(meeting.peer.isClosed)
        #expect(meeting.device.events.isEmpty)
        // A client that was handed in is the only one.
        #expect(throws: Errno.socketNotConnected) { try meeting.server.attach() }
        #expect(meeting.server.pollDescriptor == nil)
    }

    @Test func refusedWithDescriptors() throws {
        let meeting = try Meeting()
        let watch = try File.Watch()
        try meeting.peer.send(Self.version, [watch.takeFile()])
        #expect(throws: Errno.badAddress) { try meeting.server.attach() }
        #expect(meeting.peer.isClosed)
        #expect(watch.isClosed)
    }

    /// A refused client leaves the way free for the next.
    @Test func nextAfterRefusal() throws {
        let path = temporaryPath()
        let server = try TestDevice().server(at: .path(path))
        try server.realize()
        for round in 0..<3 {
            #expect(throws: Errno.wouldBlock) { try server.attach() }
            let refused = try RawPeer(connectingTo: path)
            try refused.request(.version, versionPayload(nil, major: 1))
            #expect(throws: Errno.invalidArgument) { try server.attach() }
            #expect(try refused.receive().error == .invalidArgument)
            #expect(refused.isClosed)

            let served = try RawPeer(connectingTo: path)
            try served.request(.version, versionPayload(nil))
            try server.attach()
            #expect(try served.receive().error == nil, "round \(round)")
            #expect(throws: Errno.invalidArgument) { try server.attach() }
            served.close()
            #expect(throws: Errno.socketNotConnected) { try server.poll() }
        }
        #expect(exists(path))
        server.close()
        #expect(!exists(path))
        #expect(throws: Errno.socketNotConnected) { try server.attach() }
    }

    /// The answer to the plainest client, to the byte; flags a command can have besides its type do not matter.
    @Test(arguments: [0, 0x10, 0x20, 0xffff_fff0] as [UInt32])
    func exactReply(flags: UInt32) throws {
        let meeting = try Meeting()
        try meeting.peer.send(message(.version, versionPayload(nil), id: 9, flags: flags))
        try meeting.server.attach()
        let reply = try meeting.peer.receive()
        let text = #"{ "capabilities": { "max_msg_fds": 8, "max_data_xfer_size": 1048576 } }"#
        #expect(reply.header.flags.rawValue == .isReply)
        #expect(reply.header.id == 9)
        #expect(String(decoding: reply.payload.dropFirst(4), as: UTF8.self) == text + "\0")
        #expect(reply.files.isEmpty)
    }

    @Test(arguments: [(0, 0), (1, 1), (2, 2), (3, 2), (0xffff, 2)] as [(UInt16, UInt16)])
    func minorVersion(offered: UInt16, granted: UInt16) throws {
        let meeting = try Meeting()
        try meeting.peer.request(.version, versionPayload(nil, minor: offered))
        try meeting.server.attach()
        #expect(Array(try meeting.peer.receive().payload.prefix(4)) == bytes(0 as UInt16, granted))
    }

    /// Texts that are accepted and say nothing.
    @Test(arguments: ["[]", "5", #""x""#, "{}", #"{"capabilities":{}}"#, #"{"other":1} trailing"#])
    func ignored(text: String) throws {
        #expect(try Meeting().capabilities(text) == ServerCapabilities())
    }

    @Test func twinSocket() throws {
        let meeting = try Meeting()
        try meeting.peer.request(.version, versionPayload(twinCapabilities))
        try meeting.server.attach()
        let reply = try meeting.peer.receive()
        #expect(try meeting.decodedCapabilities(reply.payload).twinSocketFDIndex == 0)
        #expect(reply.files.count == 1)
        let twin = RawPeer(try #require(reply.files.first))
        #expect(twin.isQuiet)
        meeting.peer.close()
        #expect(throws: Errno.socketNotConnected) { try meeting.server.poll() }
        #expect(twin.isClosed)
    }

    @Test(
        arguments: [
            #"{"capabilities":{"max_msg_fds":0,"twin_socket":{"supported":true}}}"#,
            #"{"capabilities":{"max_msg_fds":8,"twin_socket":{"supported":false}}}"#,
            #"{"capabilities":{"max_msg_fds":8,"twin_socket":{}}}"#,
        ])
    func noTwinSocket(text: String) throws {
        let meeting = try Meeting()
        try meeting.peer.request(.version, versionPayload(text))
        try meeting.server.attach()
        let reply = try meeting.peer.receive()
        #expect(reply.files.isEmpty)
        #expect(try meeting.decodedCapabilities(reply.payload).twinSocketFDIndex == nil)
    }

    /// Without `max_msg_fds` a client takes one.
    @Test func twinSocketByDefault() throws {
        let text = #"{"capabilities":{"twin_socket":{"supported":true}}}"#
        #expect(try Meeting().capabilities(text).twinSocketFDIndex == 0)
    }

    @Test func writeMultiple() throws {
        #expect(try !Meeting().capabilities("{}").writeMultiple)
        #expect(try !Meeting().capabilities(#"{"capabilities":{"write_multiple":false}}"#).writeMultiple)
        #expect(try Meeting().capabilities(#"{"capabilities":{"write_multiple":true}}"#).writeMultiple)
    }

    @Test func pageSizesAndMaps() throws {
        let text = #"{"capabilities":{"pgsizes":4096,"max_dma_maps":65535}}"#
        let granted = try Meeting().capabilities(text)
        #expect(granted.pageSizes == 4096)
        #expect(granted.maxDMAMaps == 16)
        #expect(try Meeting().capabilities(#"{"capabilities":{"max_dma_maps":3}}"#).maxDMAMaps == 3)
        #expect(try Meeting().capabilities(#"{"capabilities":{"max_dma_maps":0}}"#).maxDMAMaps == nil)
        #expect(try Meeting().capabilities(#"{"capabilities":{"max_dma_maps":-1}}"#).maxDMAMaps == nil)
        #expect(try Meeting().capabilities("{}").maxDMAMaps == nil)
        #expect(try Meeting().capabilities("{}").pageSizes == nil)

        let (peer, theirs) = try RawPeer.pair()
        let plain = try DeviceServer(
            TestDevice(), at: .connected(theirs), waiting: .polling)
        try peer.request(.version, versionPayload(text))
        try plain.attach()
        let reply = String(decoding: try peer.receive().payload.dropFirst(4), as: UTF8.self)
        #expect(reply.contains("pgsizes") && !reply.contains("max_dma_maps"))
    }

    /// A page size for migration that does not fit matters only to a device that migrates.
    @Test func migrationPageSizeOfADeviceThatStays() throws {
        let text = #"{"capabilities":{"migration":{"pgsize":3}}}"#
        #expect(try Meeting().capabilities(text).migrationPageSize == nil)
    }
}
