import SystemPackage
import Testing
import VFIOUserClient

/// Which memory DMA_READ of the server finds in IOAS mode: that of the attached address space.
struct IOASMemoryTests {
    /// A server that maps whatever it is asked to, and looks at what it sees meanwhile.
    private struct Script {
        let server: FakeServer

        /// Accepts a request: repeats its struct, with the IOVA if it is a MAP without one.
        func accept(_ command: UInt16, iova: UInt64? = nil) throws {
            let request = try server.expect(command)
            for file in request.files { FileDescriptor(rawValue: file).closeQuietly() }
            try reply(to: request, iova: iova)
        }

        func reply(to request: FakeServer.Message, iova: UInt64? = nil) throws {
            var payload = request.payload
            if let iova {
                let place = request.command == Wire.ioasCopy ? 24 : 32
                payload.replaceSubrange(place..<place + 8, with: bytes(iova))
            }
            switch request.command {
            case Wire.ioasAlloc: payload.replaceSubrange(8..<12, with: bytes(UInt32(request.id)))
            case Wire.detach, Wire.ioasDestroy: payload = []
            default: break
            }
            try server.reply(to: request, payload)
        }

        /// One byte of the client's memory; nil if it is refused with EFAULT.
        func peek(_ iova: UInt64) throws -> UInt8? {
            try server.send(id: 77, command: Wire.dmaRead, flags: 0, bytes(iova, UInt64(1)))
            let reply = try server.receive()
            #expect(reply.command == Wire.dmaRead)
            guard reply.error == 0 else {
                #expect(reply.error == UInt32(Errno.badAddress.rawValue))
                return nil
            }
            return reply.payload.last
        }

        /// Waits for a RESET, looks at memory, and answers.
        func look(_ iovas: UInt64...) throws -> [UInt8?] {
            let request = try server.expect(Wire.reset)
            let seen = try iovas.map(peek)
            try server.reply(to: request)
            return seen
        }
    }

    private func run(
        _ body: @escaping @Sendable (Script) throws -> Void,
        client: (Client, Client.IOAS, Client.IOAS) throws -> Void
    ) throws {
        try FakeServer.run(options: IOASTests.options, text: IOASTests.everything) { server in
            let script = Script(server: server)
            try script.accept(Wire.ioasAlloc)
            try script.accept(Wire.ioasAlloc)
            try body(script)
        } client: { connected in
            try client(connected, connected.allocateIOAS(), connected.allocateIOAS())
        }
    }

    private func memory(_ byte: UInt8) throws -> DMAMemory {
        let memory = try DMAMemory(count: 4096)
        try memory.write([UInt8](repeating: byte, count: 4096), at: 0)
        return memory
    }

    @Test func onlyTheAttachedOneIsSeen() throws {
        try run { script in
            try script.accept(Wire.ioasMap)
            try script.accept(Wire.ioasMap)
            #expect(try script.look(0x1000) == [nil])
            // Already while it is being attached.
            let attach = try script.server.expect(Wire.attach)
            #expect(try script.peek(0x1000) == 1)
            try script.reply(to: attach)
            #expect(try script.look(0x1000, 0x1fff, 0x2000) == [1, 1, nil])
            // Meanwhile both, the new one first; then the new one alone.
            let other = try script.server.expect(Wire.attach)
            #expect(try script.peek(0x1000) == 1)
            #expect(try script.peek(0x2000) == 2)
            try script.reply(to: other)
            #expect(try script.look(0x1000, 0x2000) == [nil, 2])
            // One that fails changes nothing.
            try script.server.reply(to: script.server.expect(Wire.attach), error: .resourceBusy)
            #expect(try script.look(0x1000, 0x2000) == [nil, 2])
            // Until the reply is on its way it may still be used.
            let detach = try script.server.expect(Wire.detach)
            #expect(try script.peek(0x2000) == 2)
            try script.reply(to: detach)
            #expect(try script.look(0x1000, 0x2000) == [nil, nil])
        } client: { client, first, second in
            try client.map(memory(1), into: first, at: 0x1000)
            try client.map(memory(2), into: second, at: 0x2000)
            try client.reset()
            try client.attach(first)
            try client.reset()
            try client.attach(second)
            try client.reset()
            #expect(throws: Errno.resourceBusy) { try client.attach(first) }
            try client.reset()
            try client.detach()
            try client.reset()
        }
    }

    @Test func mappingAndUnmapping() throws {
        try run { script in
            try script.accept(Wire.attach)
            // A fixed place is known from the start, another by the reply.
            let fixed = try script.server.expect(Wire.ioasMap)
            #expect(try script.peek(0x1000) == 1)
            try script.reply(to: fixed)
            try script.accept(Wire.ioasMap, iova: 0x8000)
            #expect(try script.look(0x1000, 0x8000, 0x8fff, 0x9000) == [1, 2, 2, nil])
            // Refused: what was there stays.
            try script.server.reply(to: script.server.expect(Wire.ioasMap), error: .fileExists)
            try script.server.reply(to: script.server.expect(Wire.ioasMap), error: .noSpace)
            #expect(try script.look(0x1000, 0x20000) == [1, nil])
            try script.accept(Wire.ioasUnmap)
            #expect(try script.look(0x1000, 0x8000) == [nil, 2])
            // A range that holds it.
            try script.accept(Wire.ioasUnmap)
            #expect(try script.look(0x8000) == [nil])
            try script.accept(Wire.ioasMap)
            try script.accept(Wire.ioasUnmap)
            #expect(try script.look(0 &- 0x1000) == [nil])
            try script.accept(Wire.ioasMap)
            try script.accept(Wire.ioasUnmap)
            #expect(try script.look(0x1000) == [nil])
        } client: { client, first, _ in
            try client.attach(first)
            #expect(try client.map(memory(1), into: first, at: 0x1000) == 0x1000)
            #expect(try client.map(memory(2), into: first, sharing: .messages) == 0x8000)
            try client.reset()
            #expect(throws: Errno.fileExists) { try client.map(memory(3), into: first, at: 0x1000) }
            #expect(throws: Errno.noSpace) { try client.map(memory(3), into: first, at: 0x20000) }
            try client.reset()
            try client.unmap(0x1000, size: 0x1000, from: first)
            try client.reset()
            try client.unmap(0x7fff, size: 0x1002, from: first)
            try client.reset()
            // At the very end, and everything by the range that means it.
            try client.map(memory(4), into: first, at: 0 &- 0x1000)
            try client.unmap(0, size: .max, from: first)
            try client.reset()
            try client.map(memory(5), into: first, at: 0x1000)
            try client.unmapAll(from: first)
            try client.reset()
        }
    }

    @Test func copies() throws {
        try run { script in
            try script.accept(Wire.ioasMap)
            try script.accept(Wire.ioasCopy)
            try script.accept(Wire.ioasCopy, iova: 0x70)
            try script.accept(Wire.attach)
            #expect(try script.look(0x5000, 0x5001, 0x5002, 0x70) == [10, 11, nil, 15])
            // It lives without its source, and ends with its address space.
            try script.accept(Wire.ioasDestroy)
            #expect(try script.look(0x5000) == [10])
        } client: { client, first, second in
            let memory = try DMAMemory(count: 4096)
            try memory.write([UInt8](0..<32), at: 0)
            try client.map(memory, into: first, at: 0x1000)
            try client.copy(0x100a, size: 2, from: first, to: second, at: 0x5000)
            #expect(try client.copy(0x100f, size: 1, from: first, to: second) == 0x70)
            try client.attach(second)
            try client.reset()
            try client.destroy(first)
            try client.reset()
        }
    }

    /// DMA_MAP works on the address space chosen for it.
    @Test func compatibility() throws {
        try run { script in
            try script.server.reply(
                to: script.server.expect(Wire.dmaMap), error: .operationNotSupportedByDevice)
            try script.accept(Wire.attach)
            try script.accept(Wire.compatIOAS)
            let map = try script.server.expect(Wire.dmaMap)
            for file in map.files { FileDescriptor(rawValue: file).closeQuietly() }
            try script.server.reply(to: map)
            #expect(try script.look(0x3000) == [6])
            try script.accept(Wire.ioasUnmap)
            #expect(try script.look(0x3000) == [nil])
        } client: { client, first, _ in
            #expect(throws: Errno.operationNotSupportedByDevice) {
                try client.map(memory(6), at: 0x3000, sharing: .messages)
            }
            try client.attach(first)
            try client.setCompatibilityIOAS(first)
            try client.map(memory(6), at: 0x3000)
            try client.reset()
            try client.unmap(0x3000, size: 0x1000, from: first)
            try client.reset()
        }
    }
}
