import SystemPackage
import Testing
import VFIOUserClient
import VFIOUserServer

/// Interrupts by eventfd.
struct InterruptTests {
    private func run(_ link: Link = .socketPair, _ body: (Client) throws -> Void) throws {
        let device = try EngineDevice()
        try withClient(of: Host(device, link, configure: device.configure), .patient, body)
    }

    @Test func info() throws {
        try run { client in
            let kinds: [Client.Interrupt] = [.intx, .msi, .msix, .error, .request]
            let info = try kinds.map { try client.interruptInfo($0) }
            #expect(info.map(\.count) == [1, 4, 8, 1, 1])
            #expect(info[2].usesEventFDs)
            #expect(throws: Errno.invalidArgument) { try client.interruptInfo(5) }
        }
    }

    /// The device signals the vector it is told, and no other.
    @Test(arguments: Link.allCases) func device(_ link: Link) throws {
        try run(link) { client in
            let listeners = try (0..<8).map { _ in try InterruptListener() }
            try client.setInterrupts(.msix, listeners)
            for (index, listener) in listeners.enumerated() {
                try client.write(UInt32(index + 1), to: .bar0, at: EngineDevice.Register.vector)
                try client.post(EngineDevice.Command.load, to: .bar0, at: EngineDevice.Register.command)
                #expect(try listener.wait(timeout: .seconds(10)) == 1)
                for other in listeners { #expect(try other.take() == 0) }
            }
            // Taken away: nothing comes any more.
            try client.clearInterrupts(.msix, start: 7, count: 1)
            try client.write(EngineDevice.Command.load, to: .bar0, at: EngineDevice.Register.command)
            #expect(try listeners[7].take() == 0)
            try client.write(1 as UInt32, to: .bar0, at: EngineDevice.Register.vector)
            try client.disableInterrupts(.msix)
            try client.write(EngineDevice.Command.load, to: .bar0, at: EngineDevice.Register.command)
            #expect(try listeners[0].take() == 0)
        }
    }

    @Test func byTheClient() throws {
        try run { client in
            let listeners = try (0..<4).map { _ in try InterruptListener() }
            try client.setInterrupts(.msi, listeners)
            try client.triggerInterrupts(.msi, start: 1, count: 2)
            #expect(try listeners.map { try $0.take() } == [0, 1, 1, 0])
            try client.setInterrupts(.msi, .trigger, start: 0, where: [true, false, false, true])
            #expect(try listeners.map { try $0.take() } == [1, 0, 0, 1])
            #expect(throws: Errno.invalidArgument) { try client.triggerInterrupts(.msi, start: 4) }
            #expect(throws: Errno.invalidArgument) { try client.setInterrupts(.msi, start: 1, listeners) }
        }
    }

    @Test func error() throws {
        try run { client in
            let listener = try InterruptListener()
            try client.setInterrupts(.error, [listener])
            try client.triggerInterrupts(.error)
            #expect(try listener.take() == 1)
        }
    }
}
