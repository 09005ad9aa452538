import SystemPackage
import Testing
import VFIOUserClient

/// Each typed call: the bytes it sends and what it makes of the reply.
struct CommandTests {
    /// Runs one call against a server that expects a command with this payload and answers with that.
    private func exchange<Result>(
        _ command: UInt16, _ expected: [UInt8], reply: [UInt8] = [], text: String? = nil,
        _ call: (Client) throws -> Result
    ) throws -> Result {
        try FakeServer.run(text: text) { server in
            let request = try server.expect(command)
            #expect(request.payload == expected)
            try server.reply(to: request, reply)
        } client: { client in
            try call(client)
        }
    }

    @Test func deviceInfo() throws {
        let info = try exchange(
            Wire.deviceInfo, bytes(UInt32(16), UInt32(0), UInt32(0), UInt32(0)),
            reply: bytes(UInt32(16), UInt32(3), UInt32(9), UInt32(5))
        ) { try $0.deviceInfo() }
        #expect(info.isResettable)
        #expect(info.isPCI)
        #expect(info.regionCount == 9)
        #expect(info.interruptKindCount == 5)
        #expect(info.flags == 3)
    }

    @Test func interruptInfo() throws {
        let info = try exchange(
            Wire.irqInfo, bytes(UInt32(16), UInt32(0), UInt32(2), UInt32(0)),
            reply: bytes(UInt32(16), UInt32(1), UInt32(2), UInt32(2048))
        ) { try $0.interruptInfo(.msix) }
        #expect(info.count == 2048)
        #expect(info.usesEventFDs)
        #expect(!info.isMaskable)
    }

    @Test func reset() throws {
        try exchange(Wire.reset, []) { try $0.reset() }
    }

    @Test func mapAndUnmapWithoutMemory() throws {
        try exchange(
            Wire.dmaMap, bytes(UInt32(32), UInt32(1), UInt64(0), UInt64(0x1000), UInt64(0x2000))
        ) { try $0.map(file: nil, size: 0x2000, at: 0x1000, rights: .read) }
        let unmap = bytes(UInt32(24), UInt32(0), UInt64(0x1000), UInt64(0x2000))
        try exchange(Wire.dmaUnmap, unmap, reply: unmap) { try $0.unmap(0x1000, size: 0x2000) }
        // A device that does no DMA answers with nothing.
        try exchange(Wire.dmaUnmap, unmap) { try $0.unmap(0x1000, size: 0x2000) }
        let all = bytes(UInt32(24), UInt32(2), UInt64(0), UInt64(0))
        try exchange(Wire.dmaUnmap, all, reply: all) { try $0.unmapAll() }
    }

    @Test func unmapWithBitmap() throws {
        let request = bytes(
            UInt32(48), UInt32(1), UInt64(0x10000), UInt64(0x9000), UInt64(0x1000), UInt64(8))
        let bitmap = try exchange(
            Wire.dmaUnmap, request, reply: request + [0b0000_0101, 0b1111_1111, 0, 0, 0, 0, 0, 0x80]
        ) { try $0.unmapReportingDirty(0x10000, size: 0x9000, pageSize: 0x1000) }
        // Nine pages; bits beyond them do not count.
        #expect(bitmap.dirtyPages == [0, 2, 8])
        #expect(bitmap.isDirty(8))
        #expect(!bitmap.isDirty(9))
        #expect(!bitmap.isDirty(.max))
        #expect(throws: Errno.protocolError) {
            try exchange(Wire.dmaUnmap, request) {
                try $0.unmapReportingDirty(0x10000, size: 0x9000, pageSize: 0x1000)
            }
        }
    }

    @Test(arguments: [UInt64(0), 1]) func bitmapsThatCannotBe(_ pageSize: UInt64) throws {
        try FakeServer.run { _ in
        } client: { client in
            #expect(throws: Errno.invalidArgument) {
                try client.unmapReportingDirty(0, size: .max, pageSize: pageSize)
            }
            #expect(throws: Errno.invalidArgument) {
                try client.dirtyPages(0, size: .max, pageSize: pageSize)
            }
        }
    }

    @Test func writeMultiple() throws {
        let text = #"{"capabilities":{"write_multiple":true}}"#
        let expected =
            bytes(UInt64(2)) + bytes(UInt64(0x10), UInt32(0), UInt32(4), UInt64(0x1122_3344))
            + bytes(UInt64(0x18), UInt32(2), UInt32(1), UInt64(0xff))
        let writes = [
            Client.RegionWrite(0x1122_3344 as UInt32, to: .bar0, at: 0x10),
            Client.RegionWrite(-1 as Int8, to: .bar2, at: 0x18),
        ]
        // A negative number is sent with its sign's bits beyond the count, which nobody looks at.
        #expect(writes[1].count == 1)
        let done = try exchange(Wire.writeMulti, expected, reply: bytes(UInt64(2)), text: text) {
            try $0.write([writes[0], Client.RegionWrite(0xff as UInt8, to: .bar2, at: 0x18)])
        }
        #expect(done == 2)
        #expect(throws: Errno.protocolError) {
            try exchange(Wire.writeMulti, bytes(UInt64(0)), reply: bytes(UInt64(1)), text: text) {
                try $0.write([])
            }
        }
        try FakeServer.run { _ in
        } client: { client in
            #expect(throws: Errno.notSupported) { try client.write(writes) }
            #expect(throws: Errno.notSupported) { try client.post(writes) }
        }
    }

    @Test func migration() throws {
        let get1 = bytes(UInt32(16), UInt32(0x10001))
        #expect(
            try exchange(Wire.feature, get1, reply: get1 + bytes(UInt64(5))) { try $0.migrationSupport() }
                == [.stopCopy, .preCopy])
        let get2 = bytes(UInt32(16), UInt32(0x10002))
        #expect(
            try exchange(Wire.feature, get2, reply: get2 + bytes(UInt32(6), UInt32(0))) {
                try $0.migrationState()
            }
                == .preCopy)
        let set = bytes(UInt32(16), UInt32(0x20002), UInt32(4), UInt32(0))
        try exchange(Wire.feature, set, reply: set) { try $0.setMigrationState(.resuming) }
        let probe = bytes(UInt32(8), UInt32(0x60002))
        #expect(try exchange(Wire.feature, probe, reply: probe) { try $0.supports(.migrationState, .set) })
        #expect(throws: Errno.protocolError) {
            try exchange(Wire.feature, get2, reply: get1 + bytes(UInt32(6), UInt32(0))) {
                try $0.migrationState()
            }
        }
        #expect(throws: Errno.protocolError) {
            try exchange(Wire.feature, get2, reply: get2 + bytes(UInt32(6))) { try $0.migrationState() }
        }
    }

    @Test func migrationData() throws {
        let read = try exchange(
            Wire.migRead, bytes(UInt32(108), UInt32(100)),
            reply: bytes(UInt32(11), UInt32(3)) + [1, 2, 3, 0, 0, 0]
        ) { try $0.readMigrationData(upTo: 100) }
        #expect(read == [1, 2, 3])
        for reply in [
            bytes(UInt32(109), UInt32(101)) + .pattern(101), bytes(UInt32(11), UInt32(3)) + [1, 2],
        ] {
            #expect(throws: Errno.protocolError) {
                try exchange(Wire.migRead, bytes(UInt32(108), UInt32(100)), reply: reply) {
                    try $0.readMigrationData(upTo: 100)
                }
            }
        }
        try exchange(Wire.migWrite, bytes(UInt32(11), UInt32(3)) + [7, 8, 9]) {
            try $0.writeMigrationData([7, 8, 9])
        }
        try exchange(Wire.migWrite, bytes(UInt32(8), UInt32(0))) { try $0.writeMigrationData([]) }
    }

    @Test func migrationDataGoesInPieces() throws {
        var options = testOptions
        options.maxTransfer = 8
        try FakeServer.run(options: options) { server in
            for piece in [[UInt8](0..<8), [UInt8](8..<16), [16]] {
                let request = try server.expect(Wire.migWrite)
                #expect(request.payload == bytes(UInt32(8 + piece.count), UInt32(piece.count)) + piece)
                try server.reply(to: request)
            }
            let request = try server.expect(Wire.migRead)
            #expect(request.payload == bytes(UInt32(16), UInt32(8)))
            try server.reply(to: request, bytes(UInt32(8), UInt32(0)))
        } client: { client in
            try client.writeMigrationData([UInt8](0...16))
            #expect(try client.readMigrationData(upTo: 1 << 30).isEmpty)
        }
    }

    @Test func logging() throws {
        let start =
            bytes(UInt32(40), UInt32(0x20006), UInt64(4096), UInt32(1), UInt32(0))
            + bytes(UInt64(0x5000), UInt64(0x3000))
        try exchange(Wire.feature, start, reply: start) {
            try $0.startDMALogging(pageSize: 4096, ranges: [(iova: 0x5000, size: 0x3000)])
        }
        let stop = bytes(UInt32(8), UInt32(0x20007))
        try exchange(Wire.feature, stop, reply: stop) { try $0.stopDMALogging() }
        let report = bytes(UInt32(40), UInt32(0x10008), UInt64(0x5000), UInt64(0x3000), UInt64(4096))
        let bitmap = try exchange(Wire.feature, report, reply: report + bytes(UInt64(0b110))) {
            try $0.dirtyPages(0x5000, size: 0x3000, pageSize: 4096)
        }
        #expect(bitmap.dirtyPages == [1, 2])
        for bad in [report, report + [0], report + bytes(UInt64(0), UInt8(0))] {
            #expect(throws: Errno.protocolError) {
                try exchange(Wire.feature, report, reply: bad) {
                    try $0.dirtyPages(0x5000, size: 0x3000, pageSize: 4096)
                }
            }
        }
    }

    /// Calls whose reply has a struct, and a good reply to each.
    private static let structured: [(String, [UInt8], @Sendable (Client) throws -> Void)] = [
        ("device info", bytes(UInt32(16), UInt32(3), UInt32(9), UInt32(5)), { _ = try $0.deviceInfo() }),
        (
            "interrupt info", bytes(UInt32(16), UInt32(1), UInt32(0), UInt32(1)),
            { _ = try $0.interruptInfo(.intx) }
        ),
        (
            "region info", bytes(UInt32(32), UInt32(3), UInt32(0), UInt32(0), UInt64(16), UInt64(0)),
            { _ = try $0.regionInfo(.bar0) }
        ),
        ("IO fds", bytes(UInt32(16), UInt32(0), UInt32(0), UInt32(0)), { _ = try $0.regionIOFDs(.bar0) }),
        (
            "read", bytes(UInt64(0), UInt32(0), UInt32(4)) + [1, 2, 3, 4],
            { _ = try $0.read(.bar0, at: 0) as UInt32 }
        ),
        ("write", bytes(UInt64(0), UInt32(0), UInt32(4)), { try $0.write(5 as UInt32, to: .bar0, at: 0) }),
    ]

    @Test(arguments: 0..<structured.count)
    func everyShorterReplyIsAProtocolError(_ index: Int) throws {
        let (_, reply, call) = Self.structured[index]
        try FakeServer.run { server in
            for length in 0...reply.count {
                let request = try server.receive()
                try server.reply(to: request, Array(reply.prefix(length)))
            }
        } client: { client in
            for _ in 0..<reply.count { #expect(throws: Errno.protocolError) { try call(client) } }
            try call(client)
        }
    }

    @Test(arguments: 0..<structured.count)
    func everyChangedByteIsHarmless(_ index: Int) throws {
        let (_, reply, call) = Self.structured[index]
        try FakeServer.run { server in
            for place in reply.indices {
                for bit in 0..<8 {
                    var changed = reply
                    changed[place] ^= 1 << UInt8(bit)
                    // A region may ask to be asked again.
                    while true {
                        let request = try server.receive()
                        if request.command == Wire.reset {
                            try server.reply(to: request)
                            break
                        }
                        try server.reply(to: request, changed)
                    }
                }
            }
        } client: { client in
            for _ in 0..<(reply.count * 8) {
                do { try call(client) } catch let error as Errno { #expect(error == .protocolError) }
                try client.reset()
            }
        }
    }

    @Test(arguments: 0..<structured.count)
    func errorRepliesAreThrown(_ index: Int) throws {
        let call = Self.structured[index].2
        try FakeServer.run { server in
            try server.reply(to: server.receive(), error: .resourceBusy)
            // Some servers send a payload with it.
            try server.reply(to: server.receive(), error: .ioError, .pattern(40))
            let request = try server.receive()
            try server.send(id: request.id, command: request.command, flags: 0x21, error: 0)
            let other = try server.receive()
            try server.send(id: other.id, command: other.command, flags: 0x21, error: .max)
        } client: { client in
            #expect(throws: Errno.resourceBusy) { try call(client) }
            #expect(throws: Errno.ioError) { try call(client) }
            #expect(throws: Errno.invalidArgument) { try call(client) }
            #expect(throws: Errno.invalidArgument) { try call(client) }
        }
    }
}
