import NVMeController
import NVMeStores
import NVMeSupport
import SystemPackage
import Testing
import VFIOUserClient

/// A client that, as QEMU does, answers none of the server's messages before its own request is answered, with memory that
/// only messages reach.
@Suite struct NVMeStubbornClientTests {
    enum Crossing: CaseIterable, Sendable {
        case map, unmap, reset

        var request: Client.Request {
            switch self {
            case .map: .map(nil, size: 1 << 20, at: 0x70_0000_0000)
            case .unmap: .unmap(0x60_0000_0000, size: 1 << 20)
            case .reset: .reset
            }
        }
    }

    /// Carries the request out first, whatever the server asks for meanwhile.
    private func insist(_ crossing: Crossing, _ rig: Rig) throws {
        let id = try rig.client.send(crossing.request)
        var waiting: [Client.Message] = []
        while true {
            let message = try rig.client.receive()
            if message.isReply, message.id == id {
                try message.successful()
                break
            }
            waiting.append(message)
        }
        for message in waiting { try answer(message, rig) }
    }

    /// Answers DMA_READ or DMA_WRITE from the rig's memory.
    private func answer(_ message: Client.Message, _ rig: Rig) throws {
        func field(_ place: Int) -> UInt64 {
            (0..<8).reduce(0) { $0 | UInt64(message.payload[place + $1]) << (8 * $1) }
        }
        let place = Int(field(0) - rig.iova)
        var reply = Array(message.payload.prefix(16))
        if message.command == 11 {
            reply += try rig.memory.read(at: place, count: Int(field(8)))
        } else {
            try rig.memory.write(Array(message.payload.dropFirst(16)), at: place)
        }
        let header = [
            UInt32(message.id) | UInt32(message.command) << 16, UInt32(16 + reply.count), 1, 0,
        ]
        try rig.client.send(
            bytes: header.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) } }
                + reply)
    }

    /// Two writes and their reading back, of which one message meets the request.
    ///
    /// - Returns: whether there were that many messages.
    private func play(_ crossing: Crossing, at cut: Int, late: Bool) throws -> Bool {
        var wasCut = false
        let store = try LateStore(byteCount: 1 << 20, isLate: late)
        try NVMeUnderTest.run(.legacyMessages, [store]) { _, rig in
            try rig.client.perform(.map(nil, size: 1 << 20, at: 0x60_0000_0000))
            try rig.enable()
            try rig.createQueues()
            let bytes = try rig.fill(8192, seed: 4)
            let commands = [
                rig.io(1, first: 0, prp1: rig.address(Rig.data)),
                rig.io(1, first: 1, prp1: rig.address(Rig.data + 4096)),
                rig.io(2, first: 0, prp1: rig.address(Rig.data + 0x10000)),
                rig.io(2, first: 1, prp1: rig.address(Rig.data + 0x11000)),
            ]
            var seen = 0
            for command in commands {
                try rig.submit(command, to: 1)
                while try !rig.hasCompletion(1) {
                    let message = try rig.client.receive()
                    if seen == cut {
                        wasCut = true
                        try insist(crossing, rig)
                    }
                    seen += 1
                    try answer(message, rig)
                    if wasCut, crossing == .reset { break }
                }
                if wasCut, crossing == .reset { break }
                #expect(try rig.take(1, seconds: 0) == 0, "message \(cut)")
            }
            if wasCut, crossing == .reset {
                // Nothing of before is done any more.
                try rig.enable()
                try rig.createQueues()
                #expect(try rig.call(rig.io(2), on: 1) == 0)
            } else {
                #expect(try rig.memory.read(at: Rig.data + 0x10000, count: 8192) == bytes)
                #expect(try !rig.hasCompletion(1))
            }
            #expect(try rig.status == 1)
        }
        return wasCut
    }

    @Test(arguments: Crossing.allCases, [true, false])
    func everyMessage(_ crossing: Crossing, late: Bool) throws {
        var cut = 0
        while try play(crossing, at: cut, late: late) { cut += 1 }
        // Each command is fetched, has its data moved, and is completed.
        #expect(cut == 12)
    }

    /// Stores have commands pending: what they give back is copied when the request has been answered.
    @Test(arguments: Crossing.allCases) func pendingInStores(_ crossing: Crossing) throws {
        let store = try LateStore(byteCount: 1 << 20)
        store.isHeld = true
        try NVMeUnderTest.run(.legacyMessages, [store]) { _, rig in
            try rig.client.perform(.map(nil, size: 1 << 20, at: 0x60_0000_0000))
            try rig.enable()
            try rig.createQueues()
            for block in 0..<6 as Range<UInt32> { try rig.submit(rig.io(2, first: block), to: 1) }
            try rig.waitUntilBegun()
            try insist(crossing, rig)
            if crossing == .reset {
                try rig.enable()
                try rig.createQueues()
                #expect(try rig.call(rig.io(2), on: 1) == 0)
            } else {
                for _ in 0..<6 { #expect(try rig.take(1) == 0) }
            }
            #expect(try !rig.hasCompletion(1) && rig.status == 1)
        }
    }
}
