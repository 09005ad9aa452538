internal import CLinux
internal import Glibc
package import SystemPackage
package import VFIOUserWire

/// Messages to the peer, gathered so that consecutive ones leave in one system call.
///
/// A message is written in place behind those that wait: ask for ``payload(capacity:to:)``, fill it, ``commit(_:count:)``.
@safe package final class OutboundMessages {
    private let memory: MessageMemory
    /// Committed messages occupy `start..<end`.
    private var start = 0
    private var end = 0
    /// What kept earlier messages from being sent, until a flush reports it.
    private var failure: Errno?
    private let isSocket: Bool
    /// Milliseconds that one flush may take; `nil`: any time.
    package var stallLimit: Int? {
        get { limit }
        set { limit = newValue }
    }
    /// Nothing outside can be in the middle of changing it, so reading it is not checked.
    private var limit: Int?

    /// - Parameter isSocket: false for a pipe, which carries no descriptors.
    package init(isSocket: Bool = true) throws(Errno) {
        memory = try MessageMemory(capacity: 2 * Limits.maxMessageByteCount)
        self.isSocket = isSocket
    }

    /// Whether there is nothing to send and nothing to report.
    package var isEmpty: Bool { start == end && failure == nil }

    /// Room for the payload of the next message, after sending what waits if there is too little. Its content
    /// is undefined. If sending fails, what waits is dropped, and the next flush says why.
    ///
    /// - Parameter capacity: at most `Limits.maxMessageByteCount` less the header, else `ENOBUFS`.
    @_lifetime(borrow self)
    package func payload(capacity: Int, to descriptor: CInt) throws(Errno) -> MutableRawSpan {
        guard capacity >= 0, capacity <= Limits.maxMessageByteCount - MessageHeader.byteCount else {
            throw .noBufferSpace
        }
        makeRoom(capacity + MessageHeader.byteCount, to: descriptor)
        let span = unsafe memory.mutableBytes(at: end + MessageHeader.byteCount, count: capacity)
        return unsafe _overrideLifetime(span, borrowing: self)
    }

    /// Room at `end` for so many bytes, at most those of the largest message.
    private func makeRoom(_ count: Int, to descriptor: CInt) {
        rewindIfEmpty()
        guard count > memory.capacity - end else { return }
        do throws(Errno) { try flush(to: descriptor) } catch { failure = error }
        rewindIfEmpty()
    }

    /// Adds a message without payload, in place of one being written.
    package func commit(_ header: MessageHeader, to descriptor: CInt) {
        makeRoom(MessageHeader.byteCount, to: descriptor)
        commit(header, count: 0)
    }

    /// Puts the header before the payload written last; the message now waits to be sent. `header.size` is set here.
    package func commit(_ header: MessageHeader, count: Int) { commit(header, count: count, followedBy: 0) }

    /// The same for a message that is longer than what was written: ``stream(_:to:_:)`` gives the other `rest` bytes.
    package func commit(_ header: MessageHeader, count: Int, followedBy rest: Int) {
        var header = header
        let length = MessageHeader.byteCount + count
        header.size = UInt32(truncatingIfNeeded: length + rest)
        var writer = unsafe Writer(memory.mutableBytes(at: end, count: MessageHeader.byteCount))
        // There is room: payload(capacity:to:) left it before the payload.
        try? header.encode(into: &writer)
        end += length
    }

    /// Bytes of a long message that are made before they are sent.
    private static let pieceByteCount = 256 << 10

    /// Sends everything that waits and the rest of the message committed last, which `fill` appends piece by piece;
    /// bytes it does not give are zeros. The peer may take a millisecond longer per 16 KiB than for a flush; the time that
    /// `fill` takes is not the peer's.
    ///
    /// - Throws: as ``flush(to:)``; part of the message may have been sent.
    package func stream(
        _ count: Int, to descriptor: CInt, _ fill: (inout OutputRawSpan) -> Void
    ) throws(Errno) {
        try reportFailure()
        var patience: Patience? = Patience(stallLimit.map { $0 + count >> 14 })
        var remaining = count
        while remaining > 0 {
            let length = min(remaining, Self.pieceByteCount)
            rewindIfEmpty()
            if length > memory.capacity - end {
                try drain(to: descriptor, [], &patience)
                rewindIfEmpty()
            }
            // Bytes behind all that waits are nobody else's.
            var piece = unsafe memory.mutableBytes(at: end, count: length)
            let begin = Patience.milliseconds()
            _ = piece.fill { output in
                fill(&output)
                // Zeros of a type without invalid values, as many as there is room for.
                unsafe output.append(repeating: 0, count: output.freeCapacity, as: UInt8.self)
            }
            patience?.excuse(since: begin)
            end += length
            remaining -= length
            try drain(to: descriptor, [], &patience)
        }
    }

    /// Sends everything that waits.
    ///
    /// - Throws: `EPIPE`, `ECONNRESET` and so on; `ETIMEDOUT` when ``stallLimit`` passed. What was not sent is dropped.
    package func flush(to descriptor: CInt) throws(Errno) {
        guard start < end, failure == nil else { return try flush(to: descriptor, descriptors: []) }
        // The usual case is no deeper than this, for the reason that `clx_receive` has.
        let sent = sendOnce(to: descriptor, [], 0)
        if sent == end - start {
            start = end
            return
        }
        var patience: Patience?
        try drain(to: descriptor, [], &patience, after: sent)
    }

    /// Sends everything that waits, descriptors with its first byte.
    package func flush(to descriptor: CInt, descriptors: [CInt]) throws(Errno) {
        try reportFailure()
        guard start < end else { return }
        var patience: Patience?
        try drain(to: descriptor, descriptors, &patience)
    }

    /// Throws what kept earlier messages from being sent, once.
    private func reportFailure() throws(Errno) {
        guard let failure else { return }
        reset()
        throw failure
    }

    /// Sends everything that waits. The peer's time begins to run when it first keeps this waiting, if it does not already.
    ///
    /// - Parameter result: what the first call gave, if it has been made.
    private func drain(
        to descriptor: CInt, _ descriptors: [CInt], _ patience: inout Patience?, after result: Int? = nil
    ) throws(Errno) {
        var result = result
        var attached = descriptors.isEmpty ? 0 : descriptors.count
        while start < end {
            let count = result.take() ?? sendOnce(to: descriptor, descriptors, attached)
            if count >= 0 {
                attached = 0
                start += count
            } else if count == -Int(EAGAIN) {
                let begun = patience ?? Patience(limit)
                patience = begun
                guard begun.waitToWrite(descriptor) else {
                    reset()
                    throw .timedOut
                }
            } else if count != -Int(EINTR) {
                reset()
                throw Errno(rawValue: CInt(clamping: -count))
            }
        }
    }

    /// One system call: the bytes sent, or a negated errno. It does not wait, but for a pipe that does.
    @inline(__always)
    private func sendOnce(to descriptor: CInt, _ descriptors: [CInt], _ attached: Int) -> Int {
        unsafe memory.withPointer(at: start) { pointer in
            // The messages that wait, and as many descriptors as the array holds, or none.
            guard isSocket else {
                let written = unsafe write(descriptor, pointer, end - start)
                return written < 0 ? -Int(errno) : written
            }
            if attached == 0 {
                return unsafe clx_send_bytes(descriptor, pointer, end - start, CInt(MSG_DONTWAIT))
            }
            var vector = unsafe iovec(iov_base: pointer, iov_len: end - start)
            return unsafe descriptors.withUnsafeBufferPointer {
                unsafe clx_send(descriptor, &vector, 1, $0.baseAddress, attached, CInt(MSG_DONTWAIT))
            }
        }
    }

    /// Drops what waits. A message being written keeps its place, as it does across a flush.
    package func reset() {
        start = end
        failure = nil
    }

    private func rewindIfEmpty() {
        if start == end {
            start = 0
            end = 0
        }
    }
}
