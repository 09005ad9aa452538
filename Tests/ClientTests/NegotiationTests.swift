import SystemPackage
import Testing
import VFIOUserClient

struct NegotiationTests {
    @Test func offersWhatTheOptionsSay() throws {
        var options = testOptions
        options.wantsTwinSocket = true
        options.wantsWriteMultiple = true
        options.migrationPageSize = 4096
        options.pageSizes = 4096
        options.maxDMAMaps = 100
        options.minorVersion = 1
        try FakeServer.run { server in
            let request = try server.expect(Wire.version)
            #expect(request.payload.prefix(4) == [0, 0, 1, 0])
            let text = String(decoding: request.payload.dropFirst(4), as: UTF8.self)
            #expect(
                text == """
                    { "capabilities": { "max_msg_fds": 8, "max_data_xfer_size": 1048576, \
                    "migration": { "pgsize": 4096 }, "twin_socket": { "supported": true }, \
                    "write_multiple": true, "pgsizes": 4096, "max_dma_maps": 100 } }\0
                    """)
            try server.reply(to: request, bytes(UInt16(0), UInt16(1)))
        } client: { socket in
            let client = try Client(adopting: socket, options: options)
            #expect(client.server.majorVersion == 0)
            #expect(client.server.minorVersion == 1)
            #expect(client.server.capabilityText == nil)
            #expect(client.server.maxFDs == 1)
            #expect(!client.server.hasTwinSocket)
            #expect(client.maxTransfer == 1 << 20)
        }
    }

    @Test func takesInWhatTheServerSays() throws {
        var options = testOptions
        options.maxTransfer = 65536
        let text = """
            { "capabilities": { "max_msg_fds": 3, "max_data_xfer_size": 4096, "migration": { "pgsize": 8192 }, \
            "write_multiple": true, "pgsizes": 4096, "max_dma_maps": 7, "other": [] } }
            """
        try FakeServer.run(options: options, text: text) { _ in
        } client: { client in
            #expect(client.server.minorVersion == 2)
            #expect(client.server.maxFDs == 3)
            #expect(client.server.maxTransfer == 4096)
            #expect(client.maxTransfer == 4096)
            #expect(client.server.migrationPageSize == 8192)
            #expect(client.server.writesMultiple)
            #expect(client.server.pageSizes == 4096)
            #expect(client.server.maxDMAMaps == 7)
            #expect(client.server.capabilityText == text)
        }
    }

    @Test func ownLimitHoldsBelowTheServers() throws {
        var options = testOptions
        options.maxTransfer = 512
        try FakeServer.run(options: options, text: #"{"capabilities":{"max_data_xfer_size":4096}}"#) { _ in
        } client: { client in
            #expect(client.maxTransfer == 512)
        }
    }

    @Test(arguments: [
        (ClientOptions.CapabilityText.none, [UInt8]()),
        (.verbatim("[]"), [0x5b, 0x5d, 0]),
        (.verbatim(""), [0]),
    ])
    func sendsOtherTexts(_ text: ClientOptions.CapabilityText, _ expected: [UInt8]) throws {
        var options = testOptions
        options.capabilityText = text
        try FakeServer.run { server in
            let request = try server.expect(Wire.version)
            #expect(request.payload == bytes(UInt16(0), UInt16(2)) + expected)
            try server.reply(to: request, bytes(UInt16(0), UInt16(0)))
        } client: { socket in
            let client = try Client(adopting: socket, options: options)
            #expect(client.server.minorVersion == 0)
        }
    }

    @Test func refusalIsThrownAsItsErrno() throws {
        try FakeServer.run { server in
            try server.reply(to: server.expect(Wire.version), error: .invalidArgument)
        } client: { socket in
            #expect(throws: Errno.invalidArgument) { try Client(adopting: socket, options: testOptions) }
        }
    }

    @Test(arguments: [
        bytes(UInt16(1), UInt16(0)),  // another major version
        bytes(UInt16(0), UInt16(3)),  // more than was offered
        bytes(UInt16(0)), [],  // cut short
        bytes(UInt16(0), UInt16(2)) + Array("{}".utf8),  // no NUL
        bytes(UInt16(0), UInt16(2)) + Array("{\0".utf8),
        bytes(UInt16(0), UInt16(2)) + Array(#"{"capabilities":{"max_msg_fds":"8"}}"#.utf8) + [0],
        bytes(UInt16(0), UInt16(2)) + Array(#"{"capabilities":{"max_data_xfer_size":0}}"#.utf8) + [0],
        bytes(UInt16(0), UInt16(2))
            + Array(#"{"capabilities":{"twin_socket":{"supported":true,"fd_index":0}}}"#.utf8) + [0],
    ])
    func impossibleRepliesAreProtocolErrors(_ payload: [UInt8]) throws {
        try FakeServer.run { server in
            try server.reply(to: server.expect(Wire.version), payload)
        } client: { socket in
            #expect(throws: Errno.protocolError) { try Client(adopting: socket, options: testOptions) }
        }
    }

    @Test func descriptorsNobodyAskedForAreClosed() throws {
        let probe = try ClosedProbe()
        try FakeServer.run { server in
            try server.negotiate(files: [probe.writer, probe.writer, probe.writer])
            probe.closeOwn()
        } client: { socket in
            let client = try Client(adopting: socket, options: testOptions)
            #expect(!client.server.hasTwinSocket)
            #expect(probe.isClosedEverywhere())
        }
    }

    @Test func closingWithoutReply() throws {
        try FakeServer.run { server in
            _ = try server.receive()
        } client: { socket in
            #expect(throws: Errno.socketNotConnected) { try Client(adopting: socket, options: testOptions) }
        }
    }

    @Test func silenceTimesOut() throws {
        var options = ClientOptions()
        options.timeout = .milliseconds(30)
        try FakeServer.run { server in
            _ = try server.receive()
            _ = try server.receive()
        } client: { socket in
            #expect(throws: Errno.timedOut) { try Client(adopting: socket, options: options) }
        }
    }

    @Test func drippingBytesTimeOutToo() throws {
        var options = ClientOptions()
        options.timeout = .milliseconds(100)
        try FakeServer.run { server in
            let request = try server.receive()
            server.pieceSize = 1
            server.pause = 20_000
            try? server.reply(to: request, bytes(UInt16(0), UInt16(2)) + [UInt8](repeating: 0, count: 40))
        } client: { socket in
            #expect(throws: Errno.timedOut) { try Client(adopting: socket, options: options) }
        }
    }

    @Test(arguments: [0, (1 << 20) + 1, -1])
    func impossibleOptionsAreRefused(_ maxTransfer: Int) throws {
        var options = testOptions
        options.maxTransfer = maxTransfer
        let (mine, theirs) = try PeerSocket.pair()
        defer { mine.close() }
        #expect(throws: Errno.invalidArgument) {
            try Client(adopting: FileDescriptor(rawValue: theirs.number), options: options)
        }
        // The socket was closed all the same.
        #expect(try mine.receive(limit: 1).0.isEmpty)
    }

    @Test func connectingToNothing() {
        #expect(throws: Errno.noSuchFileOrDirectory) { try Client(connectingTo: "/nonexistent/socket") }
        #expect(throws: Errno.fileNameTooLong) {
            try Client(connectingTo: String(repeating: "x", count: 200))
        }
    }

    @Test func skippingNegotiationSendsNothing() throws {
        var options = testOptions
        options.skipsNegotiation = true
        try FakeServer.run { server in
            let request = try server.expect(99)
            try server.reply(to: request, error: .invalidArgument)
        } client: { socket in
            let client = try Client(adopting: socket, options: options)
            let id = try client.send(Client.Request(rawCommand: 99))
            #expect(try client.reply(to: id).error == .invalidArgument)
        }
    }
}
