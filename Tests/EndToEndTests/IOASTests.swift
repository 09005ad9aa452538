import SystemPackage
import Testing
import VFIOUserClient
import VFIOUserServer

/// The commands of IOAS mode against the server.
struct IOASTests {
    private func run(
        _ features: Client.IOASFeatures = .all, _ iovas: IOVAPolicy = .opaque(), twin: Bool = false,
        setUp: (DeviceServer) throws -> Void = { _ in }, _ body: (Client) throws -> Void
    ) throws {
        let device = try EngineDevice()
        let host = try Host(device, .socketPair) { server in
            try device.configure(server)
            try server.setIOASPolicy(.auto, iovas: iovas)
            try setUp(server)
        }
        var options = ClientOptions.ioas(features)
        options.wantsTwinSocket = twin
        try withClient(of: host, options, body)
    }

    private func memory(_ byte: UInt8, _ count: Int = 0x1000) throws -> DMAMemory {
        let memory = try DMAMemory(count: count)
        try memory.write([UInt8](repeating: byte, count: count), at: 0)
        return memory
    }

    @Test func spaces() throws {
        try run { client in
            let (first, second) = (try client.allocateIOAS(), try client.allocateIOAS())
            #expect(first.rawValue == 1)
            #expect(second.rawValue == 2)
            try client.destroy(first)
            #expect(throws: Errno.noSuchFileOrDirectory) { try client.destroy(first) }
            #expect(throws: Errno.noSuchFileOrDirectory) { try client.attach(first) }
            #expect(try client.allocateIOAS().rawValue == 3)
            try client.attach(second)
            #expect(throws: Errno.resourceBusy) { try client.destroy(second) }
            try client.detach()
            #expect(throws: Errno.invalidArgument) { try client.detach() }
            try client.destroy(second)
            #expect(try client.bind() == 1)
            #expect(throws: Errno.fileExists) { try client.bind() }
            #expect(throws: Errno.noSpace) { for _ in 0..<100 { _ = try client.allocateIOAS() } }
        }
    }

    /// The device sees what is attached, and nothing else; the twin socket's thread too.
    @Test(arguments: [Client.DMASharing.file, .messages], [false, true])
    func attaching(_ sharing: Client.DMASharing, _ twin: Bool) throws {
        try run(twin: twin) { client in
            if twin { try client.startServingDMA() }
            let (first, second) = (try client.allocateIOAS(), try client.allocateIOAS())
            try client.map(memory(1), into: first, at: 0x1000, sharing: sharing)
            try client.map(memory(2), into: second, at: 0x1000, sharing: sharing)
            try client.map(memory(3), into: second, at: 0x2000, sharing: sharing)
            #expect(try client.deviceView(0x1000, 1) == nil)
            for _ in 0..<20 {
                try client.attach(first)
                #expect(try client.deviceView(0x1000, 1, byMessage: true) == [1])
                #expect(try client.deviceView(0x1000, 1) == [1])
                #expect(try client.deviceView(0x2000, 1) == nil)
                try client.attach(second)
                #expect(try client.deviceView(0x1000, 1, byMessage: true) == [2])
                #expect(try client.deviceView(0x1fff, 2) == [2, 3])
            }
            try client.attach(second)
            #expect(try client.counter(EngineDevice.Register.regions) == 2)
            try client.detach()
            #expect(try client.counter(EngineDevice.Register.regions) == 0)
            #expect(try client.deviceView(0x1000, 1) == nil)
        }
    }

    @Test func mapping() throws {
        try run { client in
            let space = try client.allocateIOAS()
            try client.attach(space)
            let first = try client.map(memory(1, 0x3000), into: space, range: 0x10..<0x2000)
            let second = try client.map(memory(2), into: space)
            #expect(try client.deviceView(first, 0x1ff0)?.count == 0x1ff0)
            #expect(try client.deviceView(second, 1) == [2])
            #expect(throws: Errno.fileExists) { try client.map(memory(3), into: space, at: second) }
            #expect(throws: Errno.invalidArgument) {
                try client.map(memory(3), into: space, at: 0x100_0000, rights: [])
            }
            #expect(throws: Errno.noSuchFileOrDirectory) {
                try client.map(memory(3), into: Client.IOAS(rawValue: 9))
            }
            #expect(throws: Errno.overflow) {
                try client.map(file: nil, size: 0x1000, into: space, at: 0 &- 1)
            }
            try client.map(memory(4), into: space, at: 0 &- 0x1000)
            #expect(try client.deviceView(.max, 1) == [4])

            #expect(throws: Errno.noSuchFileOrDirectory) {
                try client.unmap(second, size: 0x800, from: space)
            }
            #expect(try client.unmap(second, size: 0x1000, from: space) == 0x1000)
            #expect(try client.deviceView(second, 1) == nil)
            // Whatever lies in a range.
            try client.map(memory(5), into: space, at: 0x20_0000_0000)
            try client.map(memory(6), into: space, at: 0x20_0000_4000, sharing: .messages)
            #expect(try client.unmap(0x20_0000_0000, size: 0x10_0000, from: space) == 0x2000)
            #expect(try client.unmapAll(from: space) == 0x1ff0 + 0x1000)
            #expect(try client.unmapAll(from: space) == 0)
            #expect(try client.counter(EngineDevice.Register.regions) == 0)
        }
    }

    /// A client with the baseline only.
    @Test(arguments: [false, true]) func baseline(_ serverAddress: Bool) throws {
        try run([], serverAddress ? .serverAddress : .opaque()) { client in
            let space = try client.allocateIOAS()
            let memory = try memory(7)
            let iova = try client.map(memory, into: space)
            try client.attach(space)
            #expect(try client.deviceView(iova, 1) == [7])
            #expect(try client.unmap(iova, size: 0x1000, from: space) == nil)
            #expect(try client.unmapAll(from: space) == nil)
            try client.detach()
            try client.destroy(space)
        }
    }

    @Test func copies() throws {
        try run { client in
            let (source, target) = (try client.allocateIOAS(), try client.allocateIOAS())
            let memory = try DMAMemory(count: 0x2000)
            try memory.write(.pattern(0x2000), at: 0)
            let iova = try client.map(memory, into: source, rights: .read)
            #expect(throws: Errno.notPermitted) {
                try client.copy(iova, size: 0x1000, from: source, to: target)
            }
            #expect(throws: Errno.noSuchFileOrDirectory) {
                try client.copy(iova, size: 0x2001, from: source, to: target, rights: .read)
            }
            try client.copy(iova + 5, size: 0x100, from: source, to: target, at: 0x8003, rights: .read)
            try client.destroy(source)
            try client.attach(target)
            let expected = Array([UInt8].pattern(0x2000)[5..<0x105])
            #expect(try client.deviceView(0x8003, 0x100) == expected)
            #expect(try client.deviceView(0x8003, 0x100, byMessage: true) == expected)
            #expect(try client.deviceWrite([1], 0x8003) == .permissionDenied)
        }
    }

    @Test(arguments: [Client.DMASharing.file, .messages]) func rights(_ sharing: Client.DMASharing) throws {
        try run { client in
            let space = try client.allocateIOAS()
            try client.attach(space)
            let memory = try memory(1)
            let reading = try client.map(memory, into: space, rights: .read, sharing: sharing)
            let writing = try client.map(memory, into: space, rights: .write, sharing: sharing)
            #expect(try client.deviceView(reading, 1) == [1])
            #expect(try client.deviceWrite([2], reading) == .permissionDenied)
            #expect(try client.deviceView(writing, 1) == nil)
            #expect(try client.deviceWrite([3], writing) == nil)
            #expect(try memory.load(at: 0) as UInt8 == 3)
        }
    }

    @Test func ranges() throws {
        let limits = try IOVALimits(ranges: [0x1000...0xffff, 0x10_0000...0x1f_ffff], alignment: 0x100)
        try run(setUp: { try $0.setIOVALimits(limits) }) { client in
            let space = try client.allocateIOAS()
            let answer = try client.iovaRanges(of: space)
            #expect(answer.ranges == limits.ranges)
            #expect(answer.alignment == 0x100)
            try client.map(memory(1), into: space, at: 0x1100)
            for iova in [0x1180, 0, 0xff00, 0x2_0000] as [UInt64] {
                #expect(throws: Errno.invalidArgument) { try client.map(memory(1), into: space, at: iova) }
            }
        }
        // More than a client first has room for.
        let many = try IOVALimits(ranges: (0..<40).map { $0 * 0x1000...$0 * 0x1000 + 0xff })
        try run(setUp: { try $0.setIOVALimits(many) }) { (client) throws in
            #expect(try client.iovaRanges(of: client.allocateIOAS()).ranges == many.ranges)
        }
    }

    @Test func compatibility() throws {
        try run { client in
            #expect(try client.compatibilityIOAS() == nil)
            #expect(throws: Errno.operationNotSupportedByDevice) { try client.map(memory(1), at: 0x1000) }
            let space = try client.allocateIOAS()
            try client.attach(space)
            try client.setCompatibilityIOAS(space)
            #expect(try client.compatibilityIOAS() == space)
            // Either protocol sees what the other did.
            try client.map(memory(1), at: 0x1000)
            #expect(try client.deviceView(0x1000, 1, byMessage: true) == [1])
            #expect(throws: Errno.fileExists) { try client.map(memory(2), into: space, at: 0x1000) }
            try client.map(memory(2), into: space, at: 0x2000)
            try client.unmap(0x2000, size: 0x1000)
            #expect(try client.unmap(0x1000, size: 0x1000, from: space) == 0x1000)
            try client.setCompatibilityIOAS(nil)
            #expect(try client.compatibilityIOAS() == nil)
        }
    }
}
