import SystemPackage
import Testing
import VFIOUserClient

struct TwinSocketTests {
    /// What to do with both sockets of a connection, the client's memory (4 KiB at 0) being mapped.
    private func run(
        _ script: @escaping @Sendable (_ main: FakeServer, _ twin: FakeServer) throws -> Void,
        client body: (Client, borrowing DMAMemory) throws -> Void
    ) throws {
        var options = testOptions
        options.wantsTwinSocket = true
        try FakeServer.run { main in
            let (mine, theirs) = try PeerSocket.pair()
            defer { mine.close() }
            try main.negotiate(
                #"{"capabilities":{"twin_socket":{"supported":true,"fd_index":0}}}"#, files: [theirs.number])
            theirs.close()
            let map = try main.expect(Wire.dmaMap)
            for file in map.files { FileDescriptor(rawValue: file).closeQuietly() }
            try main.reply(to: map)
            try script(main, FakeServer(mine))
        } client: { socket in
            let client = try Client(adopting: socket, options: options)
            #expect(client.server.hasTwinSocket)
            let memory = try DMAMemory(count: 4096)
            try client.map(memory, at: 0)
            try body(client, memory)
        }
    }

    /// Writes a number to the client's memory and reads it back.
    private static func touch(_ twin: FakeServer, _ value: UInt32) throws {
        let access = bytes(UInt64(8), UInt64(4))
        try twin.send(id: 5, command: Wire.dmaWrite, flags: 0, access + bytes(value))
        #expect(try twin.receive().payload == access)
        try twin.send(id: 6, command: Wire.dmaRead, flags: 0, access)
        #expect(try twin.receive().payload == access + bytes(value))
    }

    @Test func servedWhileWaiting() throws {
        try run { main, twin in
            for value in 1...20 as ClosedRange<UInt32> {
                let request = try main.expect(Wire.reset)
                try Self.touch(twin, value)
                try main.reply(to: request)
            }
        } client: { client, memory in
            for value in 1...20 as ClosedRange<UInt32> {
                try client.reset()
                #expect(try memory.load(at: 8) == value)
            }
        }
    }

    @Test func servedAsAvailable() throws {
        try run { main, twin in
            try Self.touch(twin, 7)
            try Self.touch(main, 8)
        } client: { client, memory in
            // Never waits, so it takes many calls; in the end the server has gone.
            #expect(throws: Errno.socketNotConnected) { while true { try client.serveAvailable() } }
            #expect(client.servedDMACount == 4)
            let value: UInt32 = try memory.load(at: 8)
            #expect(value == 8)
        }
    }

    @Test func servedOnPurpose() throws {
        try run { main, twin in
            try Self.touch(twin, 7)
            main.waitForEnd()
        } client: { client, memory in
            try client.serveDMA(timeout: .seconds(10)) { client.servedDMACount == 2 }
            #expect(try memory.load(at: 8, as: UInt32.self) == 7)
        }
    }

    @Test func servedByAThread() throws {
        try run { main, twin in
            for value in 1...20 as ClosedRange<UInt32> { try Self.touch(twin, value) }
            // And without it again.
            let request = try main.expect(Wire.reset)
            try main.reply(to: request)
            let other = try main.expect(Wire.reset)
            try Self.touch(twin, 99)
            try main.reply(to: other)
        } client: { client, memory in
            try client.startServingDMA()
            try client.startServingDMA()
            // The thread works without any call of the client.
            while client.servedDMACount < 40 { try client.serveOne(timeout: .milliseconds(1)) }
            #expect(try memory.load(at: 8, as: UInt32.self) == 20)
            try client.reset()
            client.stopServingDMA()
            try client.reset()
            #expect(try memory.load(at: 8, as: UInt32.self) == 99)
        }
    }

    @Test func theThreadEndsWithTheClient() throws {
        try run { main, twin in
            main.waitForEnd()
            // The client's end is closed: nobody holds the twin any more.
            #expect(throws: Errno.socketNotConnected) { try twin.receive() }
        } client: { client, _ in
            try client.startServingDMA()
        }
    }

    @Test func aTwinThatFailsDoesNotHurtTheMainSocket() throws {
        try run { main, twin in
            let request = try main.expect(Wire.reset)
            try twin.send([UInt8](repeating: 0xff, count: 64))
            try main.reply(to: request)
            try main.reply(to: main.expect(Wire.reset))
            twin.socket.shutDown()
            try main.reply(to: main.expect(Wire.reset))
        } client: { client, _ in
            for _ in 0..<3 { try client.reset() }
        }
    }

    @Test func whatIsNoSocketDoesNotHurt() throws {
        var options = testOptions
        options.wantsTwinSocket = true
        let probe = try ClosedProbe()
        try FakeServer.run { server in
            try server.negotiate(
                #"{"capabilities":{"twin_socket":{"supported":true,"fd_index":1}}}"#,
                files: [probe.writer, probe.reader])
            probe.closeOwn()
            try server.reply(to: server.expect(Wire.reset))
        } client: { socket in
            do {
                let client = try Client(adopting: socket, options: options)
                try client.reset()
            }
            #expect(probe.isClosedEverywhere())
        }
    }

    @Test func withoutTwinThereIsNoThread() throws {
        try FakeServer.run { _ in
        } client: { client in
            #expect(throws: Errno.notSupported) { try client.startServingDMA() }
        }
    }
}
