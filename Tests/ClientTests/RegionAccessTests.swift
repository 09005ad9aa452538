import SystemPackage
import Testing
import VFIOUserClient

struct RegionAccessTests {
    /// Serves reads and writes of 256 bytes per region until the client goes; other commands get `EINVAL`.
    static func serveMemory(_ server: FakeServer) throws {
        var memory = [UInt8].pattern(256)
        while true {
            let request = try server.receive()
            let offset = Int(request.payload.integer(at: 0, as: UInt64.self))
            let count = Int(request.payload.integer(at: 12, as: UInt32.self))
            guard offset + count <= memory.count else {
                try server.reply(to: request, error: .invalidArgument)
                continue
            }
            let head = Array(request.payload.prefix(16))
            switch request.command {
            case Wire.regionRead:
                try server.reply(to: request, count == 0 ? [] : head + memory[offset..<(offset + count)])
            case Wire.regionWrite:
                memory.replaceSubrange(offset..<(offset + count), with: request.payload[16...])
                if request.flags == 0 { try server.reply(to: request, count == 0 ? [] : head) }
            default: try server.reply(to: request, error: .invalidArgument)
            }
        }
    }

    @Test func integersOfEveryWidth() throws {
        try FakeServer.run {
            try Self.serveMemory($0)
        } client: { client in
            try client.write(0x12 as UInt8, to: .bar0, at: 0)
            try client.write(0x3456 as UInt16, to: .bar0, at: 1)
            try client.write(0x789a_bcde as UInt32, to: .bar0, at: 3)
            try client.write(-2 as Int64, to: .bar0, at: 7)
            #expect(
                try client.read(.bar0, at: 0, count: 15)
                    == [0x12, 0x56, 0x34, 0xde, 0xbc, 0x9a, 0x78, 0xfe] + [UInt8](repeating: 0xff, count: 7))
            #expect(try client.read(.bar0, at: 0, as: UInt8.self) == 0x12)
            #expect(try client.read(.bar0, at: 1, as: UInt16.self) == 0x3456)
            #expect(try client.read(.bar0, at: 3, as: UInt32.self) == 0x789a_bcde)
            #expect(try client.read(.bar0, at: 7, as: Int64.self) == -2)
            #expect(try client.read(.bar0, at: 7, as: Int16.self) == -2)
            #expect(throws: Errno.invalidArgument) { try client.read(.bar0, at: 0, as: UInt128.self) }
            #expect(throws: Errno.invalidArgument) { try client.write(0 as UInt128, to: .bar0, at: 0) }
            #expect(throws: Errno.invalidArgument) { try client.read(.bar0, at: 255, as: UInt16.self) }
        }
    }

    @Test func bytesGoInPieces() throws {
        var options = testOptions
        options.maxTransfer = 100
        try FakeServer.run(options: options) { server in
            for (offset, count) in [(10, 100), (110, 100), (210, 17)] {
                let request = try server.expect(Wire.regionWrite)
                #expect(request.payload.prefix(16) == bytes(UInt64(offset), UInt32(1), UInt32(count))[...])
                #expect(
                    Array(request.payload.dropFirst(16))
                        == Array([UInt8].pattern(217)[(offset - 10)...].prefix(count)))
                try server.reply(to: request, Array(request.payload.prefix(16)))
            }
            for (offset, count) in [(10, 100), (110, 100), (210, 17)] {
                let request = try server.expect(Wire.regionRead)
                #expect(request.payload == bytes(UInt64(offset), UInt32(1), UInt32(count)))
                try server.reply(to: request, request.payload + .pattern(count, seed: offset))
            }
        } client: { client in
            try client.write(.pattern(217), to: .bar1, at: 10)
            #expect(
                try client.read(.bar1, at: 10, count: 217)
                    == .pattern(100, seed: 10) + .pattern(100, seed: 110) + .pattern(17, seed: 210))
        }
    }

    @Test func emptyAccesses() throws {
        try FakeServer.run {
            try Self.serveMemory($0)
        } client: { client in
            #expect(try client.read(.bar0, at: 3, count: 0).isEmpty)
            try client.write([UInt8](), to: .bar0, at: 3)
            #expect(throws: Errno.invalidArgument) { try client.read(.bar0, at: 0, count: -1) }
        }
    }

    @Test func accessesBeyondAllOffsets() throws {
        var options = testOptions
        options.maxTransfer = 8
        try FakeServer.run(options: options) { server in
            let request = try server.expect(Wire.regionRead)
            try server.reply(to: request, request.payload + .pattern(8))
        } client: { client in
            #expect(throws: Errno.invalidArgument) { try client.read(.bar0, at: .max - 7, count: 16) }
        }
    }

    @Test func postedWritesAreNotAnswered() throws {
        try FakeServer.run { server in
            for index in 0..<100 {
                let request = try server.expect(Wire.regionWrite, flags: 0x10)
                #expect(request.payload == bytes(UInt64(0x1000), UInt32(0), UInt32(4), UInt32(index)))
            }
            try server.reply(to: server.expect(Wire.reset))
        } client: { client in
            for index in 0..<100 { try client.post(UInt32(index), to: .bar0, at: 0x1000) }
            try client.reset()
        }
    }

    @Test(arguments: [
        bytes(UInt64(1), UInt32(0), UInt32(4), UInt32(0)), bytes(UInt64(0), UInt32(1), UInt32(4), UInt32(0)),
        bytes(UInt64(0), UInt32(0), UInt32(3)) + [0, 0, 0],
        bytes(UInt64(0), UInt32(0), UInt32(5)) + [0, 0, 0, 0, 0],
        bytes(UInt64(0), UInt32(0), UInt32(4)) + [0, 0, 0, 0, 0], [],
        bytes(UInt64(0), UInt32(0), UInt32.max, UInt32(0)),
    ])
    func repliesMustRepeatTheRequest(_ reply: [UInt8]) throws {
        try FakeServer.run { server in
            for _ in 0..<2 { try server.reply(to: server.receive(), reply) }
        } client: { client in
            #expect(throws: Errno.protocolError) { try client.read(.bar0, at: 0, as: UInt32.self) }
            #expect(throws: Errno.protocolError) { try client.read(.bar0, at: 0, count: 4) }
        }
    }

    @Test func aMebibyteEachWay() throws {
        try FakeServer.run { server in
            let write = try server.expect(Wire.regionWrite)
            #expect(write.payload.count == 16 + (1 << 20))
            try server.reply(to: write, Array(write.payload.prefix(16)))
            let read = try server.expect(Wire.regionRead)
            try server.reply(to: read, read.payload + write.payload.dropFirst(16))
        } client: { client in
            let data = [UInt8].pattern(1 << 20)
            try client.write(data, to: .bar0, at: 0)
            #expect(try client.read(.bar0, at: 0, count: 1 << 20) == data)
        }
    }
}
