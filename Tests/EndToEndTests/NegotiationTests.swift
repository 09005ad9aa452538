import SystemPackage
import Testing
import VFIOUserClient
import VFIOUserServer

/// What client and server agree on.
struct NegotiationTests {
    private func negotiate(
        _ options: ClientOptions, _ link: Link = .socketPair, setUp: (DeviceServer) throws -> Void = { _ in },
        _ body: (Client) throws -> Void
    ) throws {
        let device = try EngineDevice()
        let host = try Host(device, link) { server in
            try device.configure(server)
            try setUp(server)
        }
        try withClient(of: host, options, body)
    }

    @Test(arguments: Link.allCases) func defaults(_ link: Link) throws {
        try negotiate(.patient, link) { client in
            #expect(client.server.majorVersion == 0)
            #expect(client.server.minorVersion == 2)
            #expect(client.server.maxFDs == 8)
            #expect(client.server.maxTransfer == 1 << 20)
            #expect(client.server.migrationPageSize == nil)
            #expect(!client.server.hasTwinSocket)
            #expect(client.server.maxDMAMaps == nil)
            #expect(client.server.ioas == nil)
            let info = try client.deviceInfo()
            #expect(info.isPCI)
            #expect(info.isResettable)
            #expect(info.regionCount == 9)
            #expect(info.interruptKindCount == 5)
        }
    }

    @Test(arguments: [0, 1, 2, 3] as [UInt16]) func minorVersions(_ minor: UInt16) throws {
        var options = ClientOptions.patient
        options.minorVersion = minor
        try negotiate(options) { #expect($0.server.minorVersion == min(minor, 2)) }
    }

    @Test(arguments: Link.allCases) func anotherMajorVersionIsRefused(_ link: Link) throws {
        var options = ClientOptions.patient
        options.majorVersion = 1
        let device = try EngineDevice()
        try withHost(Host(device, link, configure: device.configure)) { host in
            #expect(throws: Errno.invalidArgument) { try host.connect(options) }
            // Where others can come they are served.
            if link == .path { try host.connect().reset() }
        }
    }

    @Test func noTextAtAll() throws {
        var options = ClientOptions.patient
        options.capabilityText = .none
        try negotiate(options) { client in
            #expect(client.server.maxFDs == 8)
            try client.reset()
        }
    }

    @Test(arguments: [#"{"capabilities":{"max_msg_fds":"many"}}"#, "{", ""])
    func malformedTextsAreRefused(_ text: String) throws {
        var options = ClientOptions.patient
        options.capabilityText = .verbatim(text)
        #expect(throws: Errno.invalidArgument) { try negotiate(options) { _ in } }
    }

    @Test(arguments: [1, 63, 4096]) func smallTransfers(_ limit: Int) throws {
        var options = ClientOptions.patient
        options.maxTransfer = limit
        try negotiate(options) { client in
            #expect(client.maxTransfer == limit)
            // More than a message takes goes in pieces.
            let bytes = [UInt8].pattern(limit == 1 ? 50 : 10_000)
            try client.write(bytes, to: .bar1, at: 100)
            #expect(try client.read(.bar1, at: 100, count: bytes.count) == bytes)
            // So does what the server asks for.
            let memory = try DMAMemory(count: 0x4000)
            try memory.write(bytes, at: 5)
            try client.map(memory, at: 0x10000)
            #expect(try client.deviceView(0x10005, bytes.count, byMessage: true) == bytes)
            #expect(client.servedDMACount == (bytes.count + limit - 1) / limit)
        }
    }

    @Test func optionalParts() throws {
        var options = ClientOptions.twin
        options.wantsWriteMultiple = true
        options.maxFDs = 1
        options.maxDMAMaps = 100_000
        try negotiate(options) { client in
            #expect(client.server.hasTwinSocket)
            #expect(client.server.writesMultiple)
            #expect(client.server.maxDMAMaps == 65_535)
        }
    }

    // MARK: IOAS mode

    private static let offers: [Client.IOASFeatures?] = [
        nil, [], .fixedIOVA, [.copy, .iovaRanges], [.compatibility, .replyArguments], .messageDMA, .all,
    ]

    @Test(arguments: offers, [IOASPolicy.off, .auto, .require])
    func ioasPolicies(_ offer: Client.IOASFeatures?, _ policy: IOASPolicy) throws {
        var options = ClientOptions.patient
        options.ioas = offer
        let setUp = { (server: DeviceServer) in try server.setIOASPolicy(policy) }
        if policy == .require, offer == nil {
            #expect(throws: Errno.notSupported) { try negotiate(options, setUp: setUp) { _ in } }
            return
        }
        try negotiate(options, setUp: setUp) { client in
            #expect(client.server.ioas == (policy == .off ? nil : offer))
            if client.server.ioas == nil {
                #expect(throws: Errno.notSupported) { try client.allocateIOAS() }
                try client.map(file: nil, size: 4096, at: 0)
            } else {
                #expect(try client.allocateIOAS().rawValue == 1)
                // The server says the same as the client would.
                let legacy = Errno.notSupported
                if offer?.contains(.compatibility) != true {
                    #expect(throws: legacy) { try client.map(file: nil, size: 4096, at: 0) }
                }
            }
        }
    }

    @Test func noIOASModeWithoutDMA() throws {
        let device = try EngineDevice()
        let host = try Host(device, .socketPair) { server in
            try server.setRegion(.bar0, Region(size: 65536, flags: [.readWrite, .memory]))
        }
        try withClient(of: host, .ioas(.all)) { client in
            #expect(client.server.ioas == nil)
            // Mapping succeeds and does nothing.
            try client.map(file: nil, size: 4096, at: 0)
            try client.unmap(0, size: 4096)
        }
    }
}
