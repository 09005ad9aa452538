import SystemPackage
import Testing
import VFIOUserClient

struct PipeliningTests {
    @Test func manyRequestsInOneGo() throws {
        try FakeServer.run { server in
            // All are there before the first reply.
            var requests: [FakeServer.Message] = []
            for _ in 0..<300 { requests.append(try server.expect(Wire.regionRead)) }
            #expect(Set(requests.map(\.id)).count == 300)
            for request in requests {
                let offset: UInt64 = request.payload.integer(at: 0)
                if offset % 7 == 3 {
                    try server.reply(to: request, error: .ioError)
                } else {
                    try server.reply(to: request, request.payload + bytes(UInt32(offset)))
                }
            }
        } client: { client in
            let replies = try client.pipeline((0..<300).map { .read(.bar0, at: $0, count: 4) })
            #expect(replies.count == 300)
            for (offset, reply) in replies.enumerated() {
                if offset % 7 == 3 {
                    #expect(reply.error == .ioError)
                    #expect(throws: Errno.ioError) { try reply.regionData() }
                } else {
                    #expect(try reply.regionData() == bytes(UInt32(offset)))
                }
            }
        }
    }

    @Test func repliesInAnyOrder() throws {
        try FakeServer.run { server in
            var requests: [FakeServer.Message] = []
            for _ in 0..<10 { requests.append(try server.receive()) }
            for request in requests.reversed() { try server.reply(to: request, request.payload) }
        } client: { client in
            var ids: [UInt16] = []
            for index in 0..<9 as Range<UInt8> {
                ids.append(try client.queue(Client.Request(rawCommand: 50, payload: [index])))
            }
            // A call in between comes in its turn.
            try client.reset()
            for (index, id) in ids.enumerated() {
                #expect(try client.reply(to: id).payload == [UInt8(index)])
            }
            #expect(throws: Errno.invalidArgument) { try client.reply(to: ids[0]) }
        }
    }

    @Test func nothingIsSentBeforeItIsTime() throws {
        try FakeServer.run { server in
            let first = try server.receive()
            #expect(first.command == 50)
            try server.reply(to: first)
            try server.reply(to: server.expect(Wire.reset))
        } client: { client in
            let id = try client.queue(Client.Request(rawCommand: 50))
            try client.reset()
            try client.reply(to: id).successful()
        }
    }

    @Test func requestsWithoutReplyAreNotWaitedFor() throws {
        try FakeServer.run { server in
            #expect(try server.receive().flags == 0x10)
            let request = try server.receive()
            try server.reply(to: request, Array(request.payload.prefix(16)))
        } client: { client in
            let write = Client.Request.write(7 as UInt32, to: .bar0, at: 4)
            let replies = try client.pipeline([write.withoutReply(), write])
            #expect(replies.count == 1)
        }
    }

    @Test func descriptorsStayWithTheirRequests() throws {
        let probes = try (0..<4).map { _ in try ClosedProbe() }
        try FakeServer.run { server in
            for index in 0..<8 {
                let request = try server.receive()
                #expect(request.files.count == (index % 2 == 0 ? 1 : 0))
                for file in request.files { FileDescriptor(rawValue: file).closeQuietly() }
                try server.reply(to: request)
            }
        } client: { client in
            let requests: [Client.Request] = probes.enumerated().flatMap { index, probe in
                [
                    .map(FileDescriptor(rawValue: probe.writer), size: 4096, at: UInt64(index) << 12),
                    Client.Request(rawCommand: 50),
                ]
            }
            let replies = try client.pipeline(requests)
            #expect(replies.count == 8)
        }
        for probe in probes {
            probe.closeOwn()
            #expect(probe.isClosedEverywhere())
        }
    }

    /// Both sides would wait for ever if the client only wrote: the server answers each request before it
    /// reads the next.
    @Test func requestsAndRepliesBeyondTheSocketsBuffers() throws {
        try FakeServer.run { server in
            for _ in 0..<12 {
                let request = try server.expect(Wire.regionWrite)
                try server.reply(to: request, request.payload)
            }
        } client: { client in
            let data = [UInt8].pattern(1 << 20)
            let replies = try client.pipeline((0..<12).map { _ in .write(data, to: .bar0, at: 0) })
            #expect(replies.count == 12)
            for reply in replies { #expect(reply.payload.dropFirst(16) == data[...]) }
        }
    }

    @Test func aServerThatDoesNotReadTimesOut() throws {
        try FakeServer.run { server in
            server.waitForEnd()
        } client: { client in
            try client.setTimeout(.milliseconds(50))
            let data = [UInt8].pattern(1 << 20)
            #expect(throws: Errno.timedOut) {
                try client.pipeline((0..<12).map { _ in .write(data, to: .bar0, at: 0) })
            }
            // The rest of that message would be garbage: the connection is gone.
            #expect(throws: Errno.socketNotConnected) { try client.reset() }
        }
    }

    @Test func idsRunOutInsteadOfRepeating() throws {
        try FakeServer.run { server in
            while let request = try? server.receive() { if request.command == Wire.reset { break } }
        } client: { client in
            var count = 0
            #expect(throws: Errno.resourceTemporarilyUnavailable) {
                while true {
                    try client.queue(Client.Request(rawCommand: 50))
                    count += 1
                }
            }
            #expect(count == 32768)
        }
    }
}

extension FileDescriptor {
    /// For descriptors that only a test cares for.
    func closeQuietly() { try? close() }
}
