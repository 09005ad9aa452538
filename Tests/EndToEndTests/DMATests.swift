import SystemPackage
import Testing
import VFIOUserClient
import VFIOUserServer

/// Client memory: with a file and without, reached directly and by messages, on either socket.
struct DMATests {
    /// How the server's commands reach the client.
    enum Channel: CaseIterable, Sendable { case main, twin, twinThread }

    private func run(
        _ link: Link = .socketPair, _ channel: Channel = .main,
        setUp: (DeviceServer) throws -> Void = { _ in }, _ body: (Client) throws -> Void
    ) throws {
        let device = try EngineDevice()
        let host = try Host(device, link) { server in
            try device.configure(server)
            try setUp(server)
        }
        try withClient(of: host, channel == .main ? .patient : .twin) { client in
            #expect(client.server.hasTwinSocket == (channel != .main))
            if channel == .twinThread { try client.startServingDMA() }
            try body(client)
        }
    }

    @Test(arguments: [Client.DMASharing.file, .messages], Channel.allCases)
    func copies(_ sharing: Client.DMASharing, _ channel: Channel) throws {
        try run(.path, channel) { client in
            let memory = try DMAMemory(count: 3 << 20)
            try client.map(memory, at: 0x1_0000_0000, range: 0x1000..<(3 << 20), sharing: sharing)
            #expect(try client.counter(EngineDevice.Register.regions) == 1)
            for (count, byMessage) in [(1, false), (4096, true), (1 << 20, false), (1 << 20, true)] {
                let bytes = [UInt8].pattern(count, seed: count)
                try memory.write(bytes, at: 0x1000 + 77)
                #expect(try client.deviceView(0x1_0000_0000 + 77, count, byMessage: byMessage) == bytes)
                let other = [UInt8].pattern(count, seed: 3)
                #expect(try client.deviceWrite(other, 0x1_0000_0000 + 999, byMessage: byMessage) == nil)
                #expect(try memory.read(at: 0x1000 + 999, count: count) == other)
            }
            // Without a file messages are the only way; with one both are there.
            #expect(client.servedDMACount == (sharing == .file ? 4 : 8))
            try client.unmap(0x1_0000_0000, size: (3 << 20) - 0x1000)
            #expect(try client.counter(EngineDevice.Register.regions) == 0)
            #expect(try client.deviceView(0x1_0000_0000, 1) == nil)
        }
    }

    @Test func memoryWithoutAFile() throws {
        try run { client in
            let memory = try DMAMemory(withoutFile: 0x3000)
            try client.map(memory, at: 0x5000)
            #expect(try client.deviceWrite(.pattern(0x3000), 0x5000) == nil)
            #expect(try memory.read(at: 0, count: 0x3000) == .pattern(0x3000))
        }
    }

    /// The server reads and writes the file instead of mapping it.
    @Test func fileIO() throws {
        try run { client in
            let memory = try DMAMemory(count: 0x3000)
            try client.map(memory, at: 0x5000, mode: .fileIO)
            #expect(try client.deviceWrite(.pattern(0x3000), 0x5000) == nil)
            #expect(try memory.read(at: 0, count: 0x3000) == .pattern(0x3000))
            #expect(client.servedDMACount == 0)
        }
    }

    @Test func adjacentMappingsAreOneRange() throws {
        try run { client in
            let first = try DMAMemory(count: 0x2000)
            let second = try DMAMemory(count: 0x2000)
            try client.map(first, at: 0x10000)
            try client.map(second, at: 0x12000, sharing: .messages)
            #expect(try client.deviceWrite(.pattern(0x1000), 0x11800) == nil)
            #expect(try first.read(at: 0x1800, count: 0x800) == Array([UInt8].pattern(0x1000)[..<0x800]))
            #expect(try second.read(at: 0, count: 0x800) == Array([UInt8].pattern(0x1000)[0x800...]))
            #expect(try client.deviceView(0x11800, 0x1000, byMessage: true) == .pattern(0x1000))
            #expect(try client.deviceView(0x13fff, 2) == nil)
        }
    }

    @Test(arguments: [Client.DMASharing.file, .messages]) func rights(_ sharing: Client.DMASharing) throws {
        try run { client in
            let memory = try DMAMemory(count: 0x1000)
            try client.map(memory, at: 0x1000, rights: .read, sharing: sharing)
            try client.map(memory, at: 0x2000, rights: .write, sharing: sharing)
            #expect(try client.deviceView(0x1000, 16) != nil)
            #expect(try client.deviceWrite([1], 0x1000) == .permissionDenied)
            // In legacy mode the server does not forbid reading, but the client does.
            #expect(try client.deviceView(0x2000, 16, byMessage: true) == nil)
            #expect(try client.deviceWrite([2], 0x2000) == nil)
            #expect(try memory.load(at: 0) as UInt8 == 2)
        }
    }

    @Test func refusals() throws {
        try run(setUp: { $0.requiresSealedMemory = true }) { client in
            let memory = try DMAMemory(count: 0x2000)
            try client.map(memory, at: 0x1000)
            #expect(throws: Errno.invalidArgument) { try client.map(memory, at: 0x2000) }
            #expect(throws: Errno.noSuchFileOrDirectory) { try client.unmap(0x1000, size: 0x1000) }
            let file = try unsealed()
            #expect(throws: Errno.notPermitted) {
                try client.map(file: file.descriptor, size: 0x1000, at: 0x8000)
            }
            #expect(try client.counter(EngineDevice.Register.regions) == 1)
            try client.unmapAll()
            #expect(try client.counter(EngineDevice.Register.regions) == 0)
        }
    }

    private func unsealed() throws -> OwnedFile {
        let file = OwnedFile(
            adopting: try FileDescriptor.open(
                "/dev/shm", .readWrite, options: FileDescriptor.OpenOptions(rawValue: 0o20200000),
                permissions: .ownerReadWrite))
        try file.descriptor.resize(to: 0x1000)
        return file
    }
}
