import CLinux
import Glibc
import SystemPackage
import Testing
import VFIOUserSystem
import VFIOUserWire

@testable import VFIOUserTransport

@Suite struct InboundMessagesTests {
    @Test func batch() throws {
        let (pair, messages) = (try Pair(), try InboundMessages())
        #expect(messages.receive(from: pair.ours.number, blocking: false) == .wouldBlock)
        try pair.send(message(9, [1, 2, 3], id: 1) + message(13, id: 2) + message(9, [4], id: 3).dropLast())
        #expect(messages.receive(from: pair.ours.number, blocking: false) == .received)
        var got = try #require(messages.next())
        #expect(got.id == 1 && got.payload == [1, 2, 3])
        got = try #require(messages.next())
        #expect(got.id == 2 && got.payload.isEmpty)
        #expect(messages.next() == nil && !messages.isEmpty && messages.partialCount == 16)
        try pair.send([4])
        #expect(messages.receive(from: pair.ours.number, blocking: true) == .received)
        got = try #require(messages.next())
        #expect(got.id == 3 && got.payload == [4] && messages.isEmpty)
        pair.endSending()
        #expect(messages.receive(from: pair.ours.number, blocking: true) == .ended)
    }

    @Test(arguments: [0, 15, 1_048_609, .max] as [UInt32])
    func impossibleSizes(size: UInt32) throws {
        let (pair, messages) = (try Pair(), try InboundMessages())
        try pair.send(message(9, [1], id: 4, size: size))
        #expect(messages.receive(from: pair.ours.number, blocking: false) == .received)
        guard case .malformed(let header) = messages.head() else {
            Issue.record("not malformed")
            return
        }
        #expect(header.id == 4 && header.size == size)
        messages.consume(16)
        #expect(messages.partialCount == 1)
    }

    /// Nothing behind the message that is wanted is taken.
    @Test func noneBeyond() throws {
        let (pair, messages) = (try Pair(), try InboundMessages())
        try pair.send(message(1, [1, 2, 3, 4], id: 1) + message(13, id: 2))
        #expect(messages.receive(from: pair.ours.number, blocking: false, beyond: false) == .received)
        #expect(messages.partialCount == 16)
        #expect(messages.receive(from: pair.ours.number, blocking: false, beyond: false) == .received)
        let first = try #require(messages.next())
        #expect(first.payload == [1, 2, 3, 4] && messages.isEmpty)
        #expect(messages.receive(from: pair.ours.number, blocking: false) == .received)
        #expect(messages.next()?.id == 2)
    }

    /// Descriptors belong to the message whose first bytes they came with.
    @Test func descriptors() throws {
        let (pair, messages) = (try Pair(), try InboundMessages())
        let file = try event()
        let number = file.number
        try pair.send(message(9, [1], id: 1))
        try pair.send(message(2, [1], id: 2), [number])
        try pair.send(message(9, [1], id: 3))
        try pair.send(message(8, [1, 2], id: 4), [number, number, number])
        // With the rest of a message: closed.
        try pair.send(message(9, [1, 2, 3, 4], id: 5).dropLast(2))
        var got: [(UInt16, Int)] = []
        func receiveAll() {
            while messages.receive(from: pair.ours.number, blocking: false) == .received {
                while let next = messages.next() { got.append((next.id, next.files)) }
            }
        }
        receiveAll()
        try pair.send([3, 4], [number])
        try pair.send(message(2, [1], id: 6), [number])
        receiveAll()
        #expect(got.map(\.0) == [1, 2, 3, 4, 5, 6])
        #expect(got.map(\.1) == [0, 1, 0, 3, 0, 1])
        withExtendedLifetime(file) {}
    }

    /// Several messages in one call: the last one that takes descriptors gets them.
    @Test func descriptorsOfJoinedMessages() throws {
        let (pair, messages) = (try Pair(), try InboundMessages())
        let file = try event()
        try pair.send(
            message(9, [1], id: 1) + message(2, [1], id: 2) + message(9, [1], id: 3), [file.number])
        try pair.send(message(9, [1], id: 4) + message(13, id: 5), [file.number])
        var got: [Int] = []
        while messages.receive(from: pair.ours.number, blocking: false) == .received {
            while let next = messages.next() { got.append(next.files) }
        }
        #expect(got == [0, 1, 0, 0, 1])
    }

    /// Byte by byte, with the descriptors on the first.
    @Test func descriptorsOfDrips() throws {
        let (pair, messages) = (try Pair(), try InboundMessages())
        let file = try event()
        for (place, byte) in message(2, [1, 2, 3], id: 7).enumerated() {
            #expect(messages.next() == nil)
            try pair.send([byte], place == 0 ? [file.number, file.number] : [])
            #expect(messages.receive(from: pair.ours.number, blocking: false) == .received)
        }
        let got = try #require(messages.next())
        #expect(got.files == 2 && got.payload == [1, 2, 3])
    }

    /// A message behind the first one is taken out, and what is behind it closes up, descriptors too.
    @Test func removal() throws {
        let (pair, messages) = (try Pair(), try InboundMessages())
        let file = try event()
        try pair.send(message(9, [1], id: 1))
        try pair.send(message(11, [2, 2], id: 2), [file.number])
        try pair.send(message(2, [3], id: 3), [file.number])
        try pair.send(message(9, [4], id: 4))
        while messages.receive(from: pair.ours.number, blocking: false) == .received {}
        guard case .message(_, let first) = messages.head() else { return }
        messages.pin(first)
        guard case .message(let header, let length) = messages.head(at: first) else {
            Issue.record("no second message")
            return
        }
        #expect(header.id == 2 && messages.header(of: first)?.id == 2)
        messages.remove(at: first, length: length)
        #expect(messages.next()?.id == 1)
        let third = try #require(messages.next())
        #expect(third.id == 3 && third.files == 1)
        #expect(messages.next()?.id == 4)
        // Not there (any more): nothing happens.
        messages.remove(at: 0, length: 16)
        messages.remove(at: 1000, length: 16)
        #expect(messages.isEmpty)
    }

    /// Whatever has gone through before, the largest message fits behind one in use.
    @Test func roomBehindPinned() throws {
        let (pair, messages) = (try Pair(), try InboundMessages())
        let piece = message(9, [UInt8](repeating: 1, count: 2000))
        var lead = 0
        // Never empty: the memory is used further and further up.
        try pair.send(Array(piece.prefix(100)))
        _ = messages.receive(from: pair.ours.number, blocking: false)
        for _ in 0..<Int.random(in: 600...1000) {
            try pair.send(Array(piece[100...] + piece[..<100]))
            _ = messages.receive(from: pair.ours.number, blocking: false)
            guard messages.next() != nil else {
                Issue.record("lost step")
                return
            }
            lead += 1
        }
        try pair.send(Array(piece[100...]))
        _ = messages.receive(from: pair.ours.number, blocking: false)
        messages.pin(piece.count)
        let large = message(11, [UInt8](repeating: 2, count: (1 << 20) + 16), id: 8)
        var sent = 0
        while sent < large.count {
            let part = Array(large[sent..<min(sent + 50_000, large.count)])
            try pair.send(part)
            sent += part.count
            #expect(
                messages.receive(from: pair.ours.number, blocking: false, awaited: piece.count) == .received)
        }
        guard case .message(let header, let length) = messages.head(at: piece.count) else {
            Issue.record("not whole")
            return
        }
        #expect(header.id == 8 && length == large.count)
        let span = messages.payload(at: piece.count, length: length)
        #expect(unsafe span.withUnsafeBytes { unsafe $0.allSatisfy { $0 == 2 } })
        #expect(messages.next()?.payload == Array(piece[16...]))
        #expect(messages.next()?.id == 8)
    }

    /// The largest message, behind read-ahead of others.
    @Test func largestMessages() throws {
        let (pair, messages) = (try Pair(), try InboundMessages())
        for id in 0..<3 as Range<UInt16> {
            let large = message(10, [UInt8](repeating: UInt8(id), count: 1_048_608 - 16), id: id)
            for start in stride(from: 0, to: large.count, by: 60_000) {
                try pair.send(Array(large[start..<min(start + 60_000, large.count)]))
                #expect(messages.receive(from: pair.ours.number, blocking: false) == .received)
            }
            let got = try #require(messages.next())
            #expect(got.id == id && got.payload.count == 1_048_592 && got.payload.last == UInt8(id))
        }
    }

    @Test func resetClosesDescriptors() throws {
        let (pair, messages) = (try Pair(), try InboundMessages())
        var ends: [2 of CInt] = [-1, -1]
        var span = ends.mutableSpan
        // The call fills both elements.
        _ = unsafe span.withUnsafeMutableBufferPointer { unsafe pipe($0.baseAddress) }
        let reading = OwnedFD(adopting: ends[0])
        do {
            let writing = OwnedFD(adopting: ends[1])
            try pair.send(message(2, [1], size: 100), [writing.number])
            #expect(messages.receive(from: pair.ours.number, blocking: false) == .received)
        }
        var waiting = pollfd(fd: reading.number, events: Int16(POLLIN), revents: 0)
        #expect(unsafe poll(&waiting, 1, 0) == 0)
        messages.reset()
        #expect(unsafe poll(&waiting, 1, 0) == 1)
        #expect(messages.isEmpty)
    }

    @Test func takingDescriptors() throws {
        let (pair, messages) = (try Pair(), try InboundMessages())
        let file = try event()
        try pair.send(message(8, [1]), [file.number, file.number])
        _ = messages.receive(from: pair.ours.number, blocking: false)
        var received = messages.takeDescriptors()
        #expect(received.count == 2)
        let peeked = received.peek(at: 1)
        #expect(peeked.map { $0 >= 0 } == true)
        let first = received.take(at: 1)?.number
        #expect(first == peeked)
        let again = received.take(at: 1)?.number
        #expect(again == nil)
        #expect(received.peek(at: 1) == nil && received.peek(at: 2) == nil && received.peek(at: -1) == nil)
        #expect(received.count == 2)
        let second = messages.takeDescriptors().count
        #expect(second == 0)
    }
}
