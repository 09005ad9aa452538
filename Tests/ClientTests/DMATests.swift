import SystemPackage
import Testing
import VFIOUserClient

/// DMA_READ and DMA_WRITE of the server.
struct DMATests {
    /// Takes a DMA_MAP in.
    private static func acceptMap(_ server: FakeServer) throws {
        let map = try server.expect(Wire.dmaMap)
        for file in map.files { FileDescriptor(rawValue: file).closeQuietly() }
        try server.reply(to: map)
    }

    /// Sends a command and takes the reply.
    private static func ask(
        _ server: FakeServer, _ command: UInt16, _ payload: [UInt8], id: UInt16 = 0x4321
    ) throws -> FakeServer.Message {
        try server.send(id: id, command: command, flags: 0, payload)
        let reply = try server.receive()
        #expect(reply.id == id)
        #expect(reply.command == command)
        #expect(reply.flags & 0xf == 1)
        return reply
    }

    private static func expectError(_ reply: FakeServer.Message, _ error: Errno) {
        #expect(reply.flags == 0x21)
        #expect(Errno(rawValue: CInt(reply.error)) == error)
        #expect(reply.payload.isEmpty)
    }

    @Test(arguments: [Client.DMASharing.file, .messages]) func whileWaiting(_ sharing: Client.DMASharing)
        throws
    {
        try FakeServer.run { server in
            let map = try server.expect(Wire.dmaMap)
            #expect(map.payload == bytes(UInt32(32), UInt32(3), UInt64(0), UInt64(0x10000), UInt64(0x2000)))
            #expect(map.files.count == (sharing == .file ? 1 : 0))
            for file in map.files { FileDescriptor(rawValue: file).closeQuietly() }
            // Already before the reply.
            let early = try Self.ask(server, Wire.dmaRead, bytes(UInt64(0x10000), UInt64(4)))
            #expect(early.payload == bytes(UInt64(0x10000), UInt64(4)) + [1, 2, 3, 4])
            try server.reply(to: map)

            let reset = try server.expect(Wire.reset)
            let write = try Self.ask(server, Wire.dmaWrite, bytes(UInt64(0x11ffd), UInt64(3)) + [7, 8, 9])
            #expect(write.payload == bytes(UInt64(0x11ffd), UInt64(3)))
            let read = try Self.ask(server, Wire.dmaRead, bytes(UInt64(0x11ffc), UInt64(4)))
            #expect(read.payload == bytes(UInt64(0x11ffc), UInt64(4)) + [0, 7, 8, 9])
            // Not answered, but done.
            try server.send(
                id: 1, command: Wire.dmaWrite, flags: 0x10, bytes(UInt64(0x10000), UInt64(1)) + [0xff])
            try server.reply(to: reset)
        } client: { client in
            let memory = try DMAMemory(count: 0x2000)
            try memory.write([1, 2, 3, 4], at: 0)
            try client.map(memory, at: 0x10000, sharing: sharing)
            try client.reset()
            #expect(try memory.read(at: 0x1ffc, count: 4) == [0, 7, 8, 9])
            #expect(try memory.read(at: 0, count: 2) == [0xff, 2])
            #expect(client.servedDMACount == 4)
        }
    }

    @Test func boundsAndRights() throws {
        var options = testOptions
        options.maxTransfer = 4096
        try FakeServer.run(options: options) { server in
            for _ in 0..<3 { try Self.acceptMap(server) }
            let reset = try server.expect(Wire.reset)
            func read(_ address: UInt64, _ count: UInt64) throws -> FakeServer.Message {
                try Self.ask(server, Wire.dmaRead, bytes(address, count))
            }
            func write(_ address: UInt64, _ count: Int) throws -> FakeServer.Message {
                try Self.ask(server, Wire.dmaWrite, bytes(address, UInt64(count)) + .pattern(count))
            }
            // 0x1000...0x1fff both, 0x2000...0x2fff read only, the last page of all write only.
            Self.expectError(try read(0, 1), .badAddress)
            Self.expectError(try read(0xfff, 2), .badAddress)
            Self.expectError(try read(0x2fff, 2), .badAddress)
            Self.expectError(try read(0x3000, 1), .badAddress)
            Self.expectError(try read(.max, 2), .badAddress)
            Self.expectError(try read(.max - 1, .max), .invalidArgument)
            Self.expectError(try read(0x1000, 4097), .argListTooLong)
            Self.expectError(try read(.max, 1), .notPermitted)
            Self.expectError(try write(0x2000, 1), .notPermitted)
            // Half of it may be written; nothing is.
            Self.expectError(try write(0x1fff, 2), .notPermitted)
            #expect(try read(0x1fff, 1).payload.last == 0)
            Self.expectError(try Self.ask(server, Wire.dmaRead, bytes(UInt64(0x1000))), .invalidArgument)
            Self.expectError(try Self.ask(server, Wire.dmaRead, []), .invalidArgument)
            Self.expectError(
                try Self.ask(server, Wire.dmaWrite, bytes(UInt64(0x1000), UInt64(2)) + [1]), .invalidArgument)
            Self.expectError(
                try Self.ask(server, Wire.dmaWrite, bytes(UInt64(0x1000), UInt64(2)) + [1, 2, 3]),
                .invalidArgument)
            Self.expectError(
                try Self.ask(server, Wire.regionRead, bytes(UInt64(0), UInt64(0))), .notSupported)
            Self.expectError(try Self.ask(server, 0xffff, []), .notSupported)
            // Across two mappings, up to the last byte of all addresses, and nothing at all.
            #expect(try read(0x1ffe, 4).payload.dropFirst(16) == [0, 0, 5, 6])
            #expect(try write(0xffff_ffff_ffff_fffc, 4).flags == 1)
            #expect(try read(5, 0).payload == bytes(UInt64(5), UInt64(0)))
            try server.reply(to: reset)
        } client: { client in
            let memory = try DMAMemory(count: 0x3000)
            try memory.write([5, 6], at: 0x1000)
            try client.map(memory, at: 0x1000, range: 0..<0x1000)
            try client.map(memory, at: 0x2000, range: 0x1000..<0x2000, rights: .read)
            try client.map(memory, at: 0xffff_ffff_ffff_f000, range: 0x2000..<0x3000, rights: .write)
            try client.reset()
            #expect(try memory.read(at: 0x2ffc, count: 4) == .pattern(4))
            #expect(throws: Errno.invalidArgument) { try client.map(memory, at: .max, range: 0..<2) }
            #expect(throws: Errno.invalidArgument) { try client.map(memory, at: 0, range: 0..<0x3001) }
            #expect(throws: Errno.invalidArgument) { try client.map(memory, at: 0, range: 1..<1) }
        }
    }

    @Test func unmappedMemoryIsGone() throws {
        try FakeServer.run { server in
            for _ in 0..<2 { try Self.acceptMap(server) }
            let refused = try server.expect(Wire.dmaMap)
            for file in refused.files { FileDescriptor(rawValue: file).closeQuietly() }
            try server.reply(to: refused, error: .invalidArgument)
            func probe(_ addresses: [UInt64]) throws {
                for address in addresses {
                    Self.expectError(
                        try Self.ask(server, Wire.dmaRead, bytes(address, UInt64(1))), .badAddress)
                }
            }
            var reset = try server.expect(Wire.reset)
            try probe([0x5000])
            try server.reply(to: reset)
            let missing = try server.expect(Wire.dmaUnmap)
            #expect(try Self.ask(server, Wire.dmaRead, bytes(UInt64(0), UInt64(1))).flags == 1)
            try server.reply(to: missing, error: .noSuchFileOrDirectory)
            let unmap = try server.expect(Wire.dmaUnmap)
            #expect(try Self.ask(server, Wire.dmaRead, bytes(UInt64(0), UInt64(1))).flags == 1)
            try server.reply(to: unmap, unmap.payload)
            reset = try server.expect(Wire.reset)
            try probe([0])
            #expect(try Self.ask(server, Wire.dmaRead, bytes(UInt64(0x1000), UInt64(1))).flags == 1)
            try server.reply(to: reset)
            let all = try server.expect(Wire.dmaUnmap)
            try server.reply(to: all, all.payload)
            reset = try server.expect(Wire.reset)
            try probe([0, 0x1000])
            try server.reply(to: reset)
        } client: { client in
            do {
                // The client keeps what is mapped.
                let memory = try DMAMemory(count: 0x3000)
                try client.map(memory, at: 0, range: 0..<0x1000)
                try client.map(memory, at: 0x1000, range: 0..<0x1000)
                #expect(throws: Errno.invalidArgument) { try client.map(memory, at: 0x5000) }
                try client.reset()
            }
            #expect(throws: Errno.noSuchFileOrDirectory) { try client.unmap(0, size: 0x800) }
            try client.unmap(0, size: 0x1000)
            try client.reset()
            try client.unmapAll()
            try client.reset()
        }
    }

    @Test func servingOnPurpose() throws {
        try FakeServer.run { server in
            try Self.acceptMap(server)
            for value in 1...3 as ClosedRange<UInt8> {
                _ = try Self.ask(server, Wire.dmaWrite, bytes(UInt64(0), UInt64(1)) + [value])
            }
            server.waitForEnd()
        } client: { client in
            let memory = try DMAMemory(withoutFile: 4096)
            try client.map(memory, at: 0)
            #expect(try client.serveOne())
            try client.serveDMA(timeout: .seconds(10)) { (try? memory.load(at: 0, as: UInt8.self)) == 3 }
            #expect(client.servedDMACount == 3)
            #expect(try !client.serveOne(timeout: .milliseconds(1)))
            #expect(throws: Errno.timedOut) { try client.serveDMA(timeout: .milliseconds(5)) { false } }
        }
    }

    @Test func commandsAmongPipelinedReplies() throws {
        try FakeServer.run { server in
            try Self.acceptMap(server)
            var requests: [FakeServer.Message] = []
            for _ in 0..<5 { requests.append(try server.receive()) }
            for request in requests {
                // Both in one piece, the reply behind the command.
                let access = bytes(UInt64(0), UInt64(1))
                try server.send(
                    bytes(UInt16(9), Wire.dmaRead, UInt32(32), UInt32(0), UInt32(0)) + access
                        + bytes(request.id, request.command, UInt32(16), UInt32(1), UInt32(0)))
                #expect(try server.receive().payload == access + [0])
            }
        } client: { client in
            let memory = try DMAMemory(count: 4096)
            try client.map(memory, at: 0)
            let replies = try client.pipeline((0..<5).map { _ in Client.Request(rawCommand: 50) })
            #expect(replies.count == 5)
            #expect(try client.serveOne(timeout: .zero) == false)
            #expect(client.servedDMACount == 5)
        }
    }

    /// The device's answer and the client's own request are both larger than the socket takes at once.
    @Test func largeTransfersBothWays() throws {
        try FakeServer.run { server in
            try Self.acceptMap(server)
            let reset = try server.expect(Wire.reset)
            let access = bytes(UInt64(0), UInt64(1 << 20))
            let data = [UInt8].pattern(1 << 20)
            #expect(try Self.ask(server, Wire.dmaWrite, access + data).payload == access)
            #expect(try Self.ask(server, Wire.dmaRead, access).payload == access + data)
            try server.reply(to: reset)
        } client: { client in
            let memory = try DMAMemory(count: 1 << 20)
            try client.map(memory, at: 0)
            try client.reset()
        }
    }
}
