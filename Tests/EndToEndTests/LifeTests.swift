import SystemPackage
import Testing
import VFIOUserClient
import VFIOUserServer

/// Reset, quiescing that takes time, and clients that come and go.
struct LifeTests {
    typealias Register = EngineDevice.Register

    @Test(arguments: Link.allCases) func reset(_ link: Link) throws {
        let device = try EngineDevice()
        try withClient(of: Host(device, link, configure: device.configure)) { client in
            let memory = try DMAMemory(count: 0x1000)
            try client.map(memory, at: 0x1000)
            try client.reset()
            #expect(try client.counter(Register.resets) == 1)
            // What the client mapped stays.
            #expect(try client.deviceView(0x1000, 16) != nil)
        }
    }

    /// Requests wait for the device, and those behind them for their turn.
    @Test(arguments: Link.allCases) func deferredQuiesce(_ link: Link) throws {
        let device = try EngineDevice()
        try withClient(of: Host(device, link, configure: device.configure)) { client in
            try client.write(1 as UInt32, to: .bar0, at: Register.quiesceMode)
            let memory = try DMAMemory(count: 0x2000)
            try client.map(memory, at: 0x1000)
            #expect(try client.deviceWrite([1, 2, 3], 0x1000) == nil)
            try client.reset()
            #expect(try client.counter(Register.quiesces) == 2)
            guard let file = memory.file?.descriptor else { throw Errno.badFileDescriptor }
            let replies = try client.pipeline([
                .unmap(0x1000, size: 0x2000), .map(file, size: 0x1000, at: 0x8000), .reset,
                .read(.bar0, at: Register.quiesces, count: 4), .unmap(0x1000, size: 0x2000),
                .unmap(0x8000, size: 0x1000), .read(.bar0, at: Register.regions, count: 4),
            ])
            #expect(
                replies.map(\.error) == [nil, nil, nil, nil, .noSuchFileOrDirectory, nil, nil] as [Errno?])
            // What arrived while it waited finds it quiesced.
            #expect((3...5).contains(UInt32(bytes: try replies[3].regionData())))
            #expect(UInt32(bytes: try replies[6].regionData()) == 0)
        }
    }

    @Test func refusedQuiesce() throws {
        let device = try EngineDevice()
        try withClient(of: Host(device, .path, configure: device.configure)) { client in
            let memory = try DMAMemory(count: 0x1000)
            try client.write(UInt32(Errno.ioError.rawValue), to: .bar0, at: Register.quiesceMode)
            #expect(throws: Errno.ioError) { try client.map(memory, at: 0x1000) }
            #expect(try client.deviceView(0x1000, 1) == nil)
            try client.map(memory, at: 0x1000)
            #expect(try client.deviceView(0x1000, 1) == [0])
        }
    }

    /// An error found while the request waited.
    @Test func quiesceThatFailsLater() throws {
        let device = try EngineDevice()
        let host = try Host(device, .path, beforeQuiesced: { .timedOut }, configure: device.configure)
        try withClient(of: host) { client in
            try client.write(1 as UInt32, to: .bar0, at: Register.quiesceMode)
            #expect(throws: Errno.timedOut) { try client.reset() }
            #expect(try client.counter(Register.resets) == 0)
            try client.write(0 as UInt32, to: .bar0, at: Register.quiesceMode)
            try client.reset()
        }
    }

    @Test func clientsComeAndGo() throws {
        let device = try EngineDevice()
        try withHost(Host(device, .path, configure: device.configure)) { host in
            for turn in 1...5 as ClosedRange<UInt32> {
                // In either mode, with or without a good-bye.
                let client = try host.connect(turn % 2 == 0 ? .ioas(.all) : .twin)
                #expect(try client.counter(Register.regions) == 0)
                #expect(try client.counter(Register.resets) == turn - 1)
                #expect(try client.read(.bar0, at: 0x3000) as UInt32 == turn - 1)
                try client.write(turn, to: .bar0, at: 0x3000)
                let memory = try DMAMemory(count: 0x1000)
                let listener = try InterruptListener()
                try client.setInterrupts(.msix, [listener])
                var iova: UInt64 = 0x1000
                if turn % 2 == 0 {
                    let space = try client.allocateIOAS()
                    #expect(space.rawValue == 1)
                    try client.attach(space)
                    iova = try client.map(memory, into: space)
                } else {
                    try client.map(memory, at: iova)
                }
                #expect(try client.deviceWrite([5], iova) == nil)
                if turn == 3 { client.close() }
            }
            let client = try host.connect()
            defer { client.close() }
            #expect(try client.deviceView(0x1000, 1) == nil)
        }
    }

    /// A client that ends in the middle of everything takes nothing with it.
    @Test func goneWhileQuiescing() throws {
        let device = try EngineDevice()
        try withHost(Host(device, .path, configure: device.configure)) { host in
            for _ in 0..<3 {
                let client = try host.connect()
                try client.write(1 as UInt32, to: .bar0, at: Register.quiesceMode)
                try client.map(DMAMemory(count: 0x1000), at: 0x1000)
                try client.send(.reset)
                client.close()
            }
            let client = try host.connect()
            defer { client.close() }
            #expect(try client.counter(Register.regions) == 0)
        }
    }
}
