import SystemPackage
import Testing
import VFIOUserClient

/// Negotiation and the commands of IOAS mode: the bytes sent, and what is made of the reply.
struct IOASTests {
    /// The text of a server that grants these keys.
    static func text(_ keys: String...) -> String {
        let pairs = (["supported"] + keys).map { "\"\($0)\":true" }
        return "{\"capabilities\":{\"iommufd\":{\(pairs.joined(separator: ","))}}}"
    }

    static let everything = text(
        "x-fixed-iova", "x-copy", "x-iova-ranges", "x-compat-ioas", "x-reply-args", "x-message-dma")

    static var options: ClientOptions {
        var options = testOptions
        options.ioas = .all
        return options
    }

    /// Runs one call against a server that expects a command with this payload and answers with that.
    private func exchange<Result>(
        _ command: UInt16, _ expected: [UInt8], files: Int = 0, reply: [UInt8] = [],
        text: String = everything, _ call: (Client) throws -> Result
    ) throws -> Result {
        try FakeServer.run(options: Self.options, text: text) { server in
            let request = try server.expect(command)
            #expect(request.payload == expected)
            #expect(request.files.count == files)
            for file in request.files { FileDescriptor(rawValue: file).closeQuietly() }
            try server.reply(to: request, reply)
        } client: { client in
            try call(client)
        }
    }

    // MARK: Negotiation

    static let offers: [(Client.IOASFeatures, String)] = [
        ([], #"{ "supported": true }"#),
        ([.copy, .messageDMA], #"{ "supported": true, "x-copy": true, "x-message-dma": true }"#),
        (
            .all,
            """
            { "supported": true, "x-fixed-iova": true, "x-copy": true, "x-iova-ranges": true, \
            "x-compat-ioas": true, "x-reply-args": true, "x-message-dma": true }
            """
        ),
    ]

    @Test(arguments: 0..<offers.count) func offering(_ index: Int) throws {
        let (features, object) = Self.offers[index]
        var options = testOptions
        options.ioas = features
        try FakeServer.run { server in
            let request = try server.expect(Wire.version)
            let text = String(decoding: request.payload.dropFirst(4).dropLast(), as: UTF8.self)
            #expect(text.contains("\"iommufd\": \(object)"))
            try server.reply(to: request, bytes(UInt16(0), UInt16(2)))
        } client: { (socket) throws in
            // A server that says nothing is in legacy mode.
            #expect(try Client(adopting: socket, options: options).server.ioas == nil)
        }
    }

    @Test func takesInWhatIsGranted() throws {
        try FakeServer.run(options: Self.options, text: Self.text("x-copy", "x-unheard-of")) { _ in
        } client: {
            #expect($0.server.ioas == [.copy])
        }
        try FakeServer.run(options: Self.options, text: Self.text()) { _ in
        } client: {
            #expect($0.server.ioas == [])
        }
        try FakeServer.run(
            options: Self.options, text: #"{"capabilities":{"iommufd":{"supported":false}}}"#
        ) { _ in
        } client: {
            #expect($0.server.ioas == nil)
        }
    }

    /// A client that did not ask for it does not even look.
    @Test func ignoredUnlessOffered() throws {
        try FakeServer.run(text: #"{"capabilities":{"iommufd":7}}"#) { _ in
        } client: { client in
            #expect(client.server.ioas == nil)
            #expect(throws: Errno.notSupported) { try client.allocateIOAS() }
        }
    }

    @Test(arguments: [
        #"{"capabilities":{"iommufd":true}}"#, text("x-fixed-iova"),
        #"{"capabilities":{"iommufd":{"supported":true,"x-copy":1}}}"#,
    ])
    func impossibleGrants(_ text: String) throws {
        var options = testOptions
        options.ioas = [.copy]
        try FakeServer.run { server in
            try server.negotiate(text)
        } client: { socket in
            #expect(throws: Errno.protocolError) { try Client(adopting: socket, options: options) }
        }
    }

    /// What was not granted is not sent.
    @Test func nothingIsSentWithoutItsFeature() throws {
        let space = Client.IOAS(rawValue: 1)
        try FakeServer.run(options: Self.options, text: Self.text()) { server in
            try server.reply(to: server.expect(Wire.reset))
        } client: { client in
            let memory = try DMAMemory(count: 4096)
            let attempts: [() throws -> Void] = [
                { try client.map(memory, into: space, at: 0x1000) },
                { try client.map(memory, into: space, sharing: .messages) },
                { try client.map(file: nil, size: 4096, into: space) },
                { try client.copy(0, size: 1, from: space, to: space) },
                { _ = try client.iovaRanges(of: space) },
                { _ = try client.compatibilityIOAS() },
                { try client.setCompatibilityIOAS(space) },
            ]
            for attempt in attempts { #expect(throws: Errno.notSupported) { try attempt() } }
            try client.reset()
        }
    }

    // MARK: Commands

    @Test func allocateAndDestroy() throws {
        let request = bytes(UInt32(16), UInt32(0), UInt32(0), UInt32(0))
        let space = try exchange(
            Wire.ioasAlloc, request, reply: bytes(UInt32(16), UInt32(0), UInt32(5), UInt32(0))
        ) { try $0.allocateIOAS() }
        #expect(space.rawValue == 5)
        #expect(throws: Errno.protocolError) {
            try exchange(Wire.ioasAlloc, request, reply: request) { try $0.allocateIOAS() }
        }
        try exchange(Wire.ioasDestroy, bytes(UInt32(16), UInt32(0), UInt32(5), UInt32(0))) {
            try $0.destroy(space)
        }
    }

    @Test func map() throws {
        func fields(_ flags: UInt32, _ iova: UInt64, length: UInt64 = 0x3000, _ id: UInt32 = 2) -> [UInt8] {
            bytes(UInt32(48), flags, id, UInt32(0), UInt64(0xabc), length, iova, UInt64(0x10))
        }
        let space = Client.IOAS(rawValue: 2)
        let memory = try DMAMemory(count: 0x4000)
        guard let file = memory.file else { throw Errno.badFileDescriptor }
        func map(_ client: Client, at iova: UInt64?) throws -> UInt64 {
            try client.map(
                file: file.descriptor, offset: 0x10, size: 0x3000, into: space, at: iova, rights: .read,
                userAddress: 0xabc)
        }
        let chosen = try exchange(Wire.ioasMap, fields(2, 0), files: 1, reply: fields(2, 0x7000)) {
            try map($0, at: nil)
        }
        #expect(chosen == 0x7000)
        let fixed = try exchange(Wire.ioasMap, fields(6, 0x9000), files: 1, reply: fields(6, 0x9000)) {
            try map($0, at: 0x9000)
        }
        #expect(fixed == 0x9000)
        // Another place, another length, another address space, a range that wraps, a reply cut short.
        for bad in [
            fields(6, 0xa000), fields(6, 0x9000, length: 1), fields(6, 0x9000, 3),
            Array(fields(6, 0x9000).dropLast()), [],
        ] {
            #expect(throws: Errno.protocolError) {
                try exchange(Wire.ioasMap, fields(6, 0x9000), files: 1, reply: bad) {
                    try map($0, at: 0x9000)
                }
            }
        }
        #expect(throws: Errno.protocolError) {
            try exchange(Wire.ioasMap, fields(2, 0), files: 1, reply: fields(2, 0 &- 0x2fff)) {
                try map($0, at: nil)
            }
        }
    }

    @Test func unmap() throws {
        let space = Client.IOAS(rawValue: 2)
        func fields(_ flags: UInt32, _ iova: UInt64, _ length: UInt64) -> [UInt8] {
            bytes(UInt32(32), flags, UInt32(2), UInt32(0), iova, length)
        }
        let request = fields(0, 0x1000, 0x2000)
        #expect(
            try exchange(Wire.ioasUnmap, request, reply: fields(0, 0x1000, 0x1800)) {
                try $0.unmap(0x1000, size: 0x2000, from: space)
            } == 0x1800)
        #expect(
            try exchange(Wire.ioasUnmap, request, text: Self.text()) {
                try $0.unmap(0x1000, size: 0x2000, from: space)
            } == nil)
        #expect(throws: Errno.protocolError) {
            try exchange(Wire.ioasUnmap, request) { try $0.unmap(0x1000, size: 0x2000, from: space) }
        }
        #expect(
            try exchange(Wire.ioasUnmap, fields(1, 0, 0), reply: fields(1, 0, 0)) {
                try $0.unmapAll(from: space)
            } == 0)
    }

    @Test func copy() throws {
        let (source, target) = (Client.IOAS(rawValue: 2), Client.IOAS(rawValue: 3))
        func fields(_ flags: UInt32, _ place: UInt64) -> [UInt8] {
            bytes(UInt32(40), flags, UInt32(2), UInt32(3), UInt64(0x1000), place, UInt64(0x800))
        }
        let chosen = try exchange(Wire.ioasCopy, fields(3, 0), reply: fields(3, 0x5000)) {
            try $0.copy(0x1000, size: 0x800, from: source, to: target)
        }
        #expect(chosen == 0x5000)
        let fixed = try exchange(Wire.ioasCopy, fields(5, 0x6000), reply: fields(5, 0x6000)) {
            try $0.copy(0x1000, size: 0x800, from: source, to: target, at: 0x6000, rights: .write)
        }
        #expect(fixed == 0x6000)
        #expect(throws: Errno.protocolError) {
            try exchange(Wire.ioasCopy, fields(5, 0x6000), reply: fields(5, 0x6001)) {
                try $0.copy(0x1000, size: 0x800, from: source, to: target, at: 0x6000, rights: .write)
            }
        }
    }

    @Test func bindAttachDetach() throws {
        let space = Client.IOAS(rawValue: 7)
        let empty = bytes(UInt32(16), UInt32(0), UInt32(0), UInt32(0))
        let device = try exchange(
            Wire.bind, empty, reply: bytes(UInt32(16), UInt32(0), UInt32(0), UInt32(1))
        ) { try $0.bind() }
        #expect(device == 1)
        let request = bytes(UInt32(16), UInt32(0), UInt32(7), UInt32(0))
        try exchange(Wire.attach, request, reply: request) { try $0.attach(space) }
        try exchange(Wire.attach, request, text: Self.text()) { try $0.attach(space) }
        for bad in [[], empty] {
            #expect(throws: Errno.protocolError) {
                try exchange(Wire.attach, request, reply: bad) { try $0.attach(space) }
            }
        }
        try exchange(Wire.detach, empty) { try $0.detach() }
    }

    @Test func iovaRanges() throws {
        let space = Client.IOAS(rawValue: 4)
        @Sendable func fields(_ argsz: UInt32, _ count: UInt32, _ alignment: UInt64) -> [UInt8] {
            bytes(argsz, UInt32(0), UInt32(4), count, alignment)
        }
        let request = fields(280, 0, 0)
        let two = bytes(UInt64(0x1000), UInt64(0x1fff), UInt64(0x8000), UInt64.max)
        let answer = try exchange(Wire.iovaRanges, request, reply: fields(56, 2, 16) + two) {
            try $0.iovaRanges(of: space)
        }
        #expect(answer.ranges == [0x1000...0x1fff, 0x8000...UInt64.max])
        #expect(answer.alignment == 16)
        for bad in [
            fields(56, 2, 16),  // needs no more room, yet leaves them out
            fields(56, 2, 3) + two, fields(56, 2, 0) + two, fields(56, 1, 16) + two,
            fields(40, 1, 16) + bytes(UInt64(2), UInt64(1)), fields(.max, .max, 1),
        ] {
            #expect(throws: Errno.protocolError) {
                try exchange(Wire.iovaRanges, request, reply: bad) { try $0.iovaRanges(of: space) }
            }
        }
        // More than there was room for.
        try FakeServer.run(options: Self.options, text: Self.everything) { server in
            try server.reply(to: server.expect(Wire.iovaRanges), fields(24 + 17 * 16, 17, 1))
            let again = try server.expect(Wire.iovaRanges)
            #expect(again.payload == fields(24 + 17 * 16, 0, 0))
            let all = (0..<17).flatMap { bytes(UInt64($0 * 16), UInt64($0 * 16)) }
            try server.reply(to: again, fields(24 + 17 * 16, 17, 1) + all)
        } client: { (client) throws in
            #expect(try client.iovaRanges(of: space).ranges.count == 17)
        }
    }

    @Test func compatibility() throws {
        func fields(_ operation: UInt32, _ id: UInt32) -> [UInt8] {
            bytes(UInt32(16), UInt32(0), operation, id)
        }
        let space = try exchange(Wire.compatIOAS, fields(0, 0), reply: fields(0, 6)) {
            try $0.compatibilityIOAS()
        }
        #expect(space?.rawValue == 6)
        try exchange(Wire.compatIOAS, fields(1, 6), reply: fields(1, 6)) {
            try $0.setCompatibilityIOAS(space)
        }
        try exchange(Wire.compatIOAS, fields(2, 0), reply: fields(2, 0)) { try $0.setCompatibilityIOAS(nil) }
        try FakeServer.run(options: Self.options, text: Self.everything) { server in
            try server.reply(to: server.expect(Wire.compatIOAS), error: .operationNotSupportedByDevice)
            try server.reply(to: server.expect(Wire.compatIOAS), error: .invalidArgument)
        } client: { (client) throws in
            #expect(try client.compatibilityIOAS() == nil)
            #expect(throws: Errno.invalidArgument) { try client.compatibilityIOAS() }
        }
    }
}
