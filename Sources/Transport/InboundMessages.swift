internal import CLinux
internal import Glibc
package import SystemPackage
package import VFIOUserWire

/// Bytes received from the peer, cut into messages.
///
/// One receive takes whatever the socket has (up to ``readAhead``, or the rest of a longer message), so that a batch
/// of pipelined messages costs one system call. The first message stays in place until it is consumed: its payload is
/// read where it was received.
@safe package final class InboundMessages {
    /// Bytes asked for by one receive, unless the message under way needs more.
    package static let readAhead = 128 << 10

    /// What one receive brought.
    package enum Outcome: Equatable {
        /// More bytes.
        case received
        /// Nothing there now.
        case wouldBlock
        /// The peer has closed, or shut down its sending side.
        case ended
        /// An error of the socket.
        case failed(Errno)
    }

    /// The state of the message at some place.
    package enum Head {
        /// Not complete.
        case incomplete
        /// Complete: `length` bytes with the header.
        case message(MessageHeader, length: Int)
        /// Its size is impossible; only the header can be skipped.
        case malformed(MessageHeader)
    }

    private struct DescriptorGroup {
        var offset: Int
        var numbers: [CInt]
        /// Why some are missing, if they are.
        var failure: Errno?
    }

    private let memory: MessageMemory
    private let scratch: UnsafeMutablePointer<CInt>
    /// The first message not consumed, and the end of what was received.
    private var start = 0
    private var end = 0
    /// Bytes of the first message that somebody is reading: they must not move.
    private var pinned = 0
    private var groups: [DescriptorGroup] = [] {
        didSet { hasDescriptors = !groups.isEmpty }
    }
    /// Whether there are any, cheaper to look at.
    private var hasDescriptors = false
    private let isSocket: Bool

    /// - Parameter isSocket: false for a pipe, which carries no descriptors.
    package init(isSocket: Bool = true) throws(Errno) {
        // Room for a message in use, one that is awaited meanwhile, and read-ahead.
        memory = try MessageMemory(capacity: 2 * Limits.maxMessageByteCount + Self.readAhead)
        unsafe scratch = .allocate(capacity: Int(CLX_MAX_FDS))
        self.isSocket = isSocket
    }

    deinit {
        closeDescriptors()
        unsafe scratch.deallocate()
    }

    /// Whether bytes are waiting, be it part of a message.
    package var isEmpty: Bool { start == end }

    /// The header at a place in memory, if all of it is there.
    @inline(__always)
    private func header(at position: Int) -> MessageHeader? {
        guard end - position >= MessageHeader.byteCount else { return nil }
        var reader = unsafe Reader(memory.bytes(at: position, count: MessageHeader.byteCount))
        return try? MessageHeader(decoding: &reader)
    }

    /// Looks at the message that begins `offset` bytes after the first one.
    package func head(at offset: Int = 0) -> Head {
        guard let header = header(at: start + offset) else { return .incomplete }
        let size = Int(header.size)
        guard size >= MessageHeader.byteCount, size <= Limits.maxMessageByteCount else {
            return .malformed(header)
        }
        return size <= end - start - offset ? .message(header, length: size) : .incomplete
    }

    /// The header of the message that begins `offset` bytes after the first one, complete or not.
    package func header(of offset: Int) -> MessageHeader? { header(at: start + offset) }

    /// Bytes that are there of the first, incomplete message.
    package var partialCount: Int { end - start }

    /// The payload of a complete message `offset` bytes after the first one.
    @_lifetime(borrow self)
    package func payload(at offset: Int = 0, length: Int) -> RawSpan {
        let span = unsafe memory.bytes(
            at: start + offset + MessageHeader.byteCount, count: length - MessageHeader.byteCount)
        return unsafe _overrideLifetime(span, borrowing: self)
    }

    /// Keeps the first message in place while it is worked on. There is room for another of any size behind what has
    /// been received.
    package func pin(_ length: Int) {
        if memory.capacity - end < Limits.maxMessageByteCount { moveDown() }
        pinned = length
    }

    /// The length pinned now.
    package var pinnedLength: Int { pinned }

    /// Why descriptors of the first message are missing: `EFAULT`, there was no room for them in this process.
    package var descriptorFailure: Errno? {
        guard hasDescriptors else { return nil }
        return groups.first { $0.offset == start && $0.failure != nil }?.failure
    }

    /// Takes the descriptors that came with the first message.
    package func takeDescriptors() -> ReceivedFDs {
        guard hasDescriptors else { return ReceivedFDs() }
        return takeDescriptors(at: 0)
    }

    private func takeDescriptors(at offset: Int) -> ReceivedFDs {
        var numbers: [CInt] = []
        groups.removeAll { group in
            guard group.offset == start + offset else { return false }
            if numbers.isEmpty { numbers = group.numbers } else { numbers += group.numbers }
            return true
        }
        return ReceivedFDs(numbers)
    }

    /// Drops the first `length` bytes, a message or a part of it, and descriptors nobody took.
    package func consume(_ length: Int) {
        let length = min(length, end - start)
        if hasDescriptors {
            groups.removeAll { group in
                guard group.offset < start + length else { return false }
                for number in group.numbers { _ = close(number) }
                return true
            }
        }
        start += length
        pinned = 0
        if start == end {
            start = 0
            end = 0
        }
    }

    /// Drops a message behind the first ones, closing up the gap. Does nothing if it is not there any more.
    package func remove(at offset: Int, length: Int) {
        guard offset + length <= end - start else { return }
        _ = takeDescriptors(at: offset)
        let source = start + offset + length
        memory.move(from: source, to: start + offset, count: end - source)
        end -= length
        for index in groups.indices where groups[index].offset >= source { groups[index].offset -= length }
        if start == end, pinned == 0 {
            start = 0
            end = 0
        }
    }

    /// Drops everything.
    package func reset() {
        closeDescriptors()
        start = 0
        end = 0
        pinned = 0
    }

    /// Receives once.
    ///
    /// - Parameters:
    ///   - awaited: where the message that is being waited for begins, from the first one.
    ///   - beyond: whether to take what comes behind that message, too.
    ///   - interruptible: whether a signal handler ends the wait (`EINTR`).
    package func receive(
        from descriptor: CInt, blocking: Bool, awaited: Int = 0, beyond: Bool = true,
        interruptible: Bool = false
    ) -> Outcome {
        let room = makeRoom(awaited: awaited, beyond: beyond)
        guard room > 0 else { return .failed(.noBufferSpace) }
        guard isSocket else { return readPipe(descriptor, room: room, interruptible: interruptible) }
        var received: clx_received
        repeat {
            received = unsafe memory.withPointer(at: end) { pointer in
                unsafe clx_receive(descriptor, pointer, room, blocking ? 0 : CInt(MSG_DONTWAIT), scratch)
            }
        } while received.count == -Int(EINTR) && !interruptible
        if received.fd_count == 0, received.flags == 0 {
            return advance(received.count)
        }
        let numbers = unsafe Array(UnsafeBufferPointer(start: scratch, count: Int(received.fd_count)))
        var failure: Errno?
        if received.flags & CLX_RECEIVED_MALFORMED != 0 {
            failure = .invalidArgument
        } else if received.flags & CLX_RECEIVED_TRUNCATED != 0 {
            failure = .badAddress
        }
        let chunk = end
        let outcome = advance(received.count)
        assign(DescriptorGroup(offset: chunk, numbers: numbers, failure: failure), receivedAt: chunk)
        return outcome
    }

    private func readPipe(_ descriptor: CInt, room: Int, interruptible: Bool) -> Outcome {
        var count: Int
        repeat {
            count = unsafe memory.withPointer(at: end) { unsafe read(descriptor, $0, room) }
            if count < 0 { count = -Int(errno) }
        } while count == -Int(EINTR) && !interruptible
        return advance(count)
    }

    private func advance(_ count: Int) -> Outcome {
        if count > 0 {
            end += count
            return .received
        }
        if count == 0 { return .ended }
        if count == -Int(EAGAIN) { return .wouldBlock }
        return count == -Int(ECONNRESET) ? .ended : .failed(Errno(rawValue: CInt(clamping: -count)))
    }

    /// Bytes that may be received at `end`, after moving what is there down if it may move.
    private func makeRoom(awaited: Int, beyond: Bool) -> Int {
        // The ordinary case: nothing is kept, and the memory is larger than what is read ahead.
        if end == 0, beyond { return Self.readAhead }
        let there = end - start - awaited
        var missing = MessageHeader.byteCount - there
        if let header = header(at: start + awaited) {
            missing = min(Int(header.size), Limits.maxMessageByteCount) - there
        }
        let wanted = beyond ? max(Self.readAhead, missing) : max(1, missing)
        if memory.capacity - end < wanted, pinned == 0 { moveDown() }
        return min(wanted, memory.capacity - end)
    }

    /// Moves what is there to the beginning of the memory.
    private func moveDown() {
        guard start > 0 else { return }
        memory.move(from: start, to: 0, count: end - start)
        for index in groups.indices { groups[index].offset -= start }
        end -= start
        start = 0
    }

    /// Gives received descriptors to the message whose first bytes they came with.
    ///
    /// A receive on a UNIX socket ends behind the bytes that descriptors were attached to, so they belong to the last
    /// message that begins in what was received. Only a sender that puts further messages into the same call
    /// makes that ambiguous; then it is the last one there whose command takes descriptors.
    private func assign(_ group: consuming DescriptorGroup, receivedAt chunk: Int) {
        var position = start
        var last: Int?
        var taking: Int?
        while position < end {
            let header = header(at: position)
            if position >= chunk {
                last = position
                // The command of a header cut off here is not known yet.
                if header.map({ Self.takesDescriptors($0.command) }) ?? true { taking = position }
            }
            guard let header else { break }
            guard Int(header.size) >= MessageHeader.byteCount else { break }
            position += Int(header.size)
        }
        guard let owner = taking ?? last else {
            for number in group.numbers { _ = close(number) }
            return
        }
        group.offset = owner
        groups.append(group)
    }

    /// Whether a request, or any reply, may carry descriptors.
    private static func takesDescriptors(_ command: UInt16) -> Bool {
        switch Command(rawValue: command) {
        case .version, .dmaMap, .deviceSetIRQs, .ioasMap, .deviceGetRegionInfo, .deviceGetRegionIOFDs: true
        default: false
        }
    }

    private func closeDescriptors() {
        guard hasDescriptors else { return }
        for group in groups {
            for number in group.numbers { _ = close(number) }
        }
        groups.removeAll(keepingCapacity: true)
    }
}
