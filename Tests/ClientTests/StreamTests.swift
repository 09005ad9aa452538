import SystemPackage
import Testing
import VFIOUserClient

/// Replies as they may come over a stream: cut anywhere, glued together, late, or never meant.
struct StreamTests {
    @Test(arguments: 1...60) func repliesCutEverywhere(_ size: Int) throws {
        try FakeServer.run { server in
            server.pieceSize = size
            try RegionAccessTests.serveMemory(server)
        } client: { client in
            let data = try client.read(.bar0, at: 0, count: 40)
            let value = try client.read(.bar0, at: 8, as: UInt64.self)
            #expect(data == .pattern(40))
            #expect(value == [UInt8].pattern(16).integer(at: 8))
            #expect(throws: Errno.invalidArgument) { try client.reset() }
        }
    }

    @Test func descriptorsComeWithTheFirstPiece() throws {
        let probe = try ClosedProbe()
        try FakeServer.run { server in
            for size in [1, 15, 16, 17, 79] {
                server.pieceSize = size
                let request = try server.expect(Wire.regionInfo)
                try server.reply(
                    to: request, MappingTests.regionInfo(areas: [(0, 4096)]), files: [probe.writer])
            }
            probe.closeOwn()
        } client: { client in
            for _ in 0..<5 {
                let region = try client.regionInfo(.bar0)
                #expect(region.file != nil)
                #expect(region.areas == [Client.MappableRange(offset: 0, size: 4096)])
            }
            #expect(probe.isClosedEverywhere())
        }
    }

    @Test func unknownIDsAreProtocolErrors() throws {
        try FakeServer.run { server in
            let request = try server.expect(Wire.reset)
            try server.send(id: request.id &+ 1, command: request.command, flags: 1)
            try server.reply(to: server.expect(Wire.reset))
        } client: { client in
            #expect(throws: Errno.protocolError) { try client.reset() }
            // The stream is still in step.
            try client.reset()
        }
    }

    /// Both ways a reply is taken: copied for later, and read where it was received.
    @Test func otherCommandsAreProtocolErrors() throws {
        try FakeServer.run { server in
            for other in [Wire.deviceInfo, Wire.regionWrite] {
                let request = try server.receive()
                try server.send(
                    id: request.id, command: other, flags: 1, request.payload + bytes(UInt32(5)))
            }
            try server.reply(to: server.expect(Wire.reset))
        } client: { client in
            #expect(throws: Errno.protocolError) { try client.reset() }
            #expect(throws: Errno.protocolError) { try client.read(.bar0, at: 0, as: UInt32.self) }
            try client.reset()
        }
    }

    @Test(arguments: 2...15 as ClosedRange<UInt32>) func otherTypesAreProtocolErrors(_ type: UInt32) throws {
        try FakeServer.run { server in
            let request = try server.expect(Wire.reset)
            try server.send(id: request.id, command: request.command, flags: type)
        } client: { client in
            #expect(throws: Errno.protocolError) { try client.reset() }
        }
    }

    @Test(arguments: [0, 15, 1_048_609, .max] as [UInt32]) func impossibleSizesEndTheConnection(
        _ size: UInt32
    ) throws {
        try FakeServer.run { server in
            let request = try server.expect(Wire.reset)
            try server.send(bytes(request.id, request.command, size, UInt32(1), UInt32(0)))
            _ = try? server.receive()
        } client: { client in
            #expect(throws: Errno.protocolError) { try client.reset() }
            #expect(throws: Errno.socketNotConnected) { try client.reset() }
            #expect(throws: Errno.socketNotConnected) { try client.post(0 as UInt32, to: .bar0, at: 0) }
        }
    }

    @Test func lateRepliesAreDropped() throws {
        try FakeServer.run { server in
            let late = try server.expect(Wire.regionRead)
            let next = try server.expect(Wire.reset)
            try server.reply(to: late, late.payload + bytes(UInt32(5)))
            try server.reply(to: next)
            // Dropped once: a second reply is to nothing.
            try server.reply(to: late)
            _ = try server.expect(Wire.reset)
        } client: { client in
            try client.setTimeout(.milliseconds(50))
            #expect(throws: Errno.timedOut) { try client.read(.bar0, at: 0, as: UInt32.self) }
            try client.setTimeout(.seconds(20))
            try client.reset()
            #expect(throws: Errno.protocolError) { try client.reset() }
        }
    }

    @Test(arguments: 0...17) func closingAmidAReply(_ count: Int) throws {
        try FakeServer.run { server in
            let request = try server.expect(Wire.regionRead)
            let reply = bytes(request.id, request.command, UInt32(36), UInt32(1), UInt32(0)) + request.payload
            if count > 0 { try server.send(Array(reply.prefix(count))) }
        } client: { client in
            #expect(throws: Errno.socketNotConnected) { try client.read(.bar0, at: 0, as: UInt32.self) }
            #expect(throws: Errno.socketNotConnected) { try client.deviceInfo() }
        }
    }

    @Test func closedClientsFail() throws {
        try FakeServer.run { _ in
        } client: { client in
            client.close()
            #expect(throws: Errno.socketNotConnected) { try client.reset() }
            #expect(throws: Errno.socketNotConnected) { try client.serveOne() }
            #expect(throws: Errno.socketNotConnected) { try client.receive() }
        }
    }

    @Test func rawMessagesBothWays() throws {
        try FakeServer.run { server in
            #expect(try server.receive().payload == [1, 2, 3])
            try server.send(id: 77, command: 1234, flags: 0, [9])
            try server.send(id: 3, command: 4, flags: 0x21, error: 16, [8, 7])
        } client: { client in
            try client.send(bytes: bytes(UInt16(5), UInt16(6), UInt32(19), UInt32(0), UInt32(0)) + [1, 2, 3])
            let command = try client.receive()
            #expect(command.id == 77)
            #expect(command.command == 1234)
            #expect(!command.isReply)
            #expect(command.error == nil)
            #expect(command.payload == [9])
            let reply = try client.receive()
            #expect(reply.isReply)
            #expect(reply.error == .resourceBusy)
            #expect(reply.errorNumber == 16)
            #expect(reply.payload == [8, 7])
            #expect(throws: Errno.socketNotConnected) { try client.receive() }
        }
    }
}
