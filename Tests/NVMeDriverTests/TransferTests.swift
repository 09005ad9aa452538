import NVMePCI
import SystemPackage
import Testing
import VFIOUserClient

@testable import NVMeDriver

/// Data between this process's memory and the store.
struct TransferTests {
    /// Ways that data and doorbells take.
    struct Way: Sendable, CustomTestStringConvertible {
        let mode: NVMeServer.Mode
        var sgl = false
        var mapsDoorbells = true
        var interrupts = false
        var sharing = Client.DMASharing.file

        var options: DriverOptions {
            .test(mode.memory) {
                $0.usesSGL = sgl
                $0.mapsDoorbells = mapsDoorbells
                $0.usesInterrupts = interrupts
                $0.sharing = sharing
            }
        }

        var testDescription: String {
            "\(mode)\(sgl ? " sgl" : "")\(mapsDoorbells ? "" : " messages")\(interrupts ? " msix" : "") \(sharing)"
        }
    }

    static let ways =
        NVMeServer.Mode.allCases.flatMap {
            [
                Way(mode: $0), Way(mode: $0, sgl: true), Way(mode: $0, mapsDoorbells: false),
                Way(mode: $0, interrupts: true),
            ]
        } + [Way(mode: .legacy, sharing: .messages), Way(mode: .opaque, sharing: .messages)]

    /// Bytes of a command, and where its data begins in the first page.
    static let shapes: [(count: Int, offset: Int)] = [
        (512, 0), (512, 4), (512, 3584), (512, 3588), (4096, 0), (4096, 4), (4096, 4092), (4608, 3584),
        (8192, 0), (8192, 2048), (8704, 0), (12288, 4092), (131072, 0), (131072, 512), (1 << 20, 0),
        (1 << 20, 4), (1 << 20, 4092),
    ]

    @Test(arguments: ways) func everyShape(_ way: Way) throws {
        let server = try NVMeServer(way.mode, byteCount: 4 << 20)
        try withController(server, way.options) { controller in
            guard !way.sgl || controller.identity.takesSGLs else { return }
            let namespace = try controller.namespace(1)
            let buffer = try controller.makeBuffer((1 << 20) + 8192)
            // So that lists of different slots are used, and cross pages in different places.
            var queue = try controller.makeQueuePair(entries: 7)
            for (round, shape) in Self.shapes.enumerated() {
                let block = UInt64(round * 3)
                let blocks = shape.count / 512
                let sent = noise(shape.count, seed: round)
                try buffer.memory.fill(0..<buffer.count, with: 0xee)
                try buffer.memory.write(sent, at: shape.offset)
                let address = buffer.iova + UInt64(shape.offset)
                try queue.execute(.write(namespace, block, count: blocks, from: address))
                #expect(try server.contents(at: Int(block) * 512, count: shape.count) == sent)

                try buffer.memory.fill(0..<buffer.count, with: 0xdd)
                try queue.execute(.read(namespace, block, count: blocks, to: address))
                #expect(try buffer.memory.read(at: shape.offset, count: shape.count) == sent)
                // Nothing beside it was touched.
                let before = try buffer.memory.read(at: 0, count: shape.offset)
                let after = try buffer.memory.read(at: shape.offset + shape.count, count: 4096)
                #expect(before.allSatisfy { $0 == 0xdd } && after.allSatisfy { $0 == 0xdd })

                try queue.execute(.compare(namespace, block, count: blocks, with: address))
                try buffer.memory.store(sent[0] ^ 1, at: shape.offset)
                let other = try status(of: .compare(namespace, block, count: blocks, with: address), &queue)
                #expect(other?.type == 2 && other?.code == 0x85)
            }
            try queue.execute(.flush(namespace))
            try queue.execute(.writeZeroes(namespace, 0, count: 2))
            #expect(try server.contents(at: 0, count: 1024).allSatisfy { $0 == 0 })
            try controller.delete(queue)
            try controller.remove(buffer)
        }
    }

    /// How a command fails; nil if it does not.
    private func status(of command: Command, _ queue: inout QueuePair) throws -> CommandStatus? {
        do {
            try queue.execute(command)
            return nil
        } catch NVMeError.command(let status) {
            return status
        }
    }

    @Test func refused() throws {
        let server = try NVMeServer(byteCount: 1 << 20, isReadOnly: true)
        try withController(server) { controller in
            let namespace = try controller.namespace(1)
            let buffer = try controller.makeBuffer(4096)
            var queue = try controller.makeQueuePair(entries: 8)
            let beyond = try status(of: .read(namespace, 2047, count: 2, to: buffer.iova), &queue)
            #expect(beyond?.type == 0 && beyond?.code == 0x80)
            #expect(beyond?.mustNotRetry == true)
            let write = try status(of: .write(namespace, 0, count: 1, from: buffer.iova), &queue)
            #expect(write?.type == 0 && write?.code == 0x20)
            let unknown = try status(of: Command(opcode: 0x55, namespace: 1), &queue)
            #expect(unknown?.type == 0 && unknown?.code == 0x01)
            // Memory that the controller does not see.
            let lost = try status(of: .read(namespace, 0, count: 1, to: buffer.iova + 1 << 40), &queue)
            #expect(lost?.type == 0 && lost?.code == 0x04)
            // It goes on.
            try queue.execute(.read(namespace, 0, count: 8, to: buffer.iova))
            #expect(throws: NVMeError.invalidArgument) {
                try queue.execute(.read(namespace, 0, count: 2049, to: buffer.iova))
            }
            var negative = Command.read(namespace, 0, count: 1, to: buffer.iova)
            negative.byteCount = -512
            #expect(throws: NVMeError.invalidArgument) { try queue.execute(negative) }
            #expect(queue.outstandingCount == 0)
        }
    }
}
