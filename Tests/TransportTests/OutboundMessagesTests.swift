import Glibc
import SystemPackage
import Testing
import VFIOUserSystem
import VFIOUserWire

@testable import VFIOUserTransport

@Suite struct OutboundMessagesTests {
    static let largest = 1_048_608 - 16

    /// Adds a message of so many bytes of payload.
    func add(_ messages: OutboundMessages, _ count: Int, id: UInt16 = 0, to descriptor: CInt) throws {
        do {
            var writer = Writer(try messages.payload(capacity: Self.largest, to: descriptor))
            try writer.appendZeros(count)
        }
        messages.commit(MessageHeader(id: id, command: 9, size: 0), count: count)
    }

    @Test func gathers() throws {
        let (pair, messages) = (try Pair(), try OutboundMessages())
        #expect(messages.isEmpty)
        try add(messages, 3, id: 1, to: pair.ours.number)
        messages.commit(MessageHeader(id: 2, command: 13, size: 0), to: pair.ours.number)
        #expect(!messages.isEmpty && pair.arrived().isEmpty)
        try messages.flush(to: pair.ours.number)
        #expect(messages.isEmpty)
        #expect(pair.arrived() == message(9, [0, 0, 0], id: 1) + message(13, id: 2))
    }

    @Test func tooLarge() throws {
        let (pair, messages) = (try Pair(), try OutboundMessages())
        #expect(throws: Errno.noBufferSpace) {
            _ = try messages.payload(capacity: Self.largest + 1, to: pair.ours.number)
        }
        #expect(throws: Errno.noBufferSpace) {
            _ = try messages.payload(capacity: -1, to: pair.ours.number)
        }
    }

    /// When memory is full to the last byte and nobody takes it, there is room again, and the next flush says why.
    @Test(arguments: [true, false])
    func fullWithoutPeer(withPayload: Bool) throws {
        let messages = try OutboundMessages()
        let ours: CInt
        do {
            let pair = try Pair()
            ours = dup(pair.ours.number)
        }
        let owner = OwnedFD(adopting: ours)
        for _ in 0..<2 { try add(messages, Self.largest, to: owner.number) }
        if withPayload {
            try add(messages, 1, to: owner.number)
        } else {
            messages.commit(MessageHeader(id: 2, command: 13, size: 0), to: owner.number)
        }
        #expect(!messages.isEmpty)
        #expect(throws: Errno.brokenPipe) { try messages.flush(to: owner.number) }
        #expect(messages.isEmpty)
        try messages.flush(to: owner.number)
        // A reset forgets it, too.
        for _ in 0..<2 { try add(messages, Self.largest, to: owner.number) }
        try add(messages, 1, to: owner.number)
        messages.reset()
        #expect(messages.isEmpty)
    }

    /// However many small messages there are, they are sent when memory is full.
    @Test func manyHeaders() throws {
        let (pair, messages) = (try Pair(), try OutboundMessages())
        var size: CInt = 8 << 20
        // An int, as the option wants.
        _ = unsafe setsockopt(pair.ours.number, SOL_SOCKET, SO_SNDBUFFORCE, &size, 4)
        messages.stallLimit = 2000
        var bytes = 0
        for id in 0..<131_076 {
            messages.commit(
                MessageHeader(id: UInt16(truncatingIfNeeded: id), command: 4, size: 0), to: pair.ours.number)
            if id % 1024 == 0 { bytes += pair.arrived().count }
            if id == 131_072 { messages.reset() }
        }
        try messages.flush(to: pair.ours.number)
        #expect(pair.arrived().count + bytes > 0)
    }

    @Test func stalls() throws {
        let (pair, messages) = (try Pair(), try OutboundMessages())
        messages.stallLimit = 100
        try add(messages, Self.largest, to: pair.ours.number)
        #expect(throws: Errno.timedOut) { try messages.flush(to: pair.ours.number) }
        #expect(messages.isEmpty)
        _ = pair.arrived()
        try add(messages, 4, id: 3, to: pair.ours.number)
        try messages.flush(to: pair.ours.number)
        #expect(pair.arrived() == message(9, [0, 0, 0, 0], id: 3))
    }

    @Test func descriptors() throws {
        let (pair, messages) = (try Pair(), try OutboundMessages())
        let file = try event()
        try add(messages, 2, id: 1, to: pair.ours.number)
        try messages.flush(to: pair.ours.number, descriptors: [file.number, file.number])
        let received = try InboundMessages()
        #expect(received.receive(from: pair.theirs.number, blocking: false) == .received)
        #expect(received.takeDescriptors().count == 2)
        try add(messages, 2, id: 1, to: pair.ours.number)
        #expect(throws: Errno.badFileDescriptor) {
            try messages.flush(to: pair.ours.number, descriptors: [99_999])
        }
        #expect(throws: Never.self) { try messages.flush(to: pair.ours.number) }
        try add(messages, 2, id: 1, to: pair.ours.number)
        #expect(throws: Errno.invalidArgument) {
            try messages.flush(
                to: pair.ours.number, descriptors: [CInt](repeating: file.number, count: 254))
        }
    }

    /// A message being written keeps its place when those before it are sent.
    @Test func flushWhileWriting() throws {
        let (pair, messages) = (try Pair(), try OutboundMessages())
        try add(messages, 1, id: 1, to: pair.ours.number)
        var writer = Writer(try messages.payload(capacity: 4, to: pair.ours.number))
        writer.put(0x0403_0201 as UInt32)
        try messages.flush(to: pair.ours.number)
        messages.commit(MessageHeader(id: 2, command: 9, size: 0), count: 4)
        try messages.flush(to: pair.ours.number)
        #expect(pair.arrived() == message(9, [0], id: 1) + message(9, [1, 2, 3, 4], id: 2))
    }
}
