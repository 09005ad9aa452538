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
    private let isSocket: Bool

    /// - Parameter isSocket: false for a pipe, which carries no descriptors.
    package init(isSocket: Bool = true) throws(Errno) {
        memory = try MessageMemory(capacity: 2 * Limits.maxMessageByteCount)
        self.isSocket = isSocket
    }

    /// Whether no message waits.
    package var isEmpty: Bool { start == end }

    /// Room for the payload of the next message, after sending what waits if there is too little. Its content
    /// is undefined.
    ///
    /// - Parameter capacity: at most `Limits.maxMessageByteCount` less the header, else `ENOBUFS`.
    @_lifetime(borrow self)
    package func payload(capacity: Int, to descriptor: CInt) throws(Errno) -> MutableRawSpan {
        guard capacity >= 0, capacity <= Limits.maxMessageByteCount - MessageHeader.byteCount else {
            throw .noBufferSpace
        }
        let needed = capacity + MessageHeader.byteCount
        rewindIfEmpty()
        if needed > memory.capacity - end {
            try flush(to: descriptor)
            rewindIfEmpty()
        }
        guard needed <= memory.capacity - end else { throw .noBufferSpace }
        let span = unsafe memory.mutableBytes(at: end + MessageHeader.byteCount, count: capacity)
        return unsafe _overrideLifetime(span, borrowing: self)
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
    /// bytes it does not give are zeros.
    ///
    /// - Throws: as ``flush(to:)``; part of the message may have been sent.
    package func stream(
        _ count: Int, to descriptor: CInt, _ fill: (inout OutputRawSpan) -> Void
    ) throws(Errno) {
        var remaining = count
        while remaining > 0 {
            let length = min(remaining, Self.pieceByteCount)
            rewindIfEmpty()
            if length > memory.capacity - end {
                try flush(to: descriptor)
                rewindIfEmpty()
            }
            // Bytes behind all that waits are nobody else's.
            var piece = unsafe memory.mutableBytes(at: end, count: length)
            _ = piece.fill { output in
                fill(&output)
                // Zeros of a type without invalid values, as many as there is room for.
                unsafe output.append(repeating: 0, count: output.freeCapacity, as: UInt8.self)
            }
            end += length
            remaining -= length
            try flush(to: descriptor)
        }
    }

    /// Sends everything that waits.
    ///
    /// - Throws: `EPIPE`, `ECONNRESET` and so on; `ETIMEDOUT` when the socket's send time-out passed. What was not
    ///   sent is dropped.
    package func flush(to descriptor: CInt) throws(Errno) {
        try flush(to: descriptor, descriptors: [])
    }

    /// Sends everything that waits, descriptors with its first byte.
    package func flush(to descriptor: CInt, descriptors: [CInt]) throws(Errno) {
        var remaining = descriptors.isEmpty ? 0 : descriptors.count
        while start < end {
            let count = unsafe memory.withPointer(at: start) { pointer in
                var vector = unsafe iovec(iov_base: pointer, iov_len: end - start)
                guard isSocket else {
                    let written = unsafe write(descriptor, pointer, end - start)
                    return written < 0 ? -Int(errno) : written
                }
                return unsafe descriptors.withUnsafeBufferPointer {
                    unsafe clx_send(descriptor, &vector, 1, $0.baseAddress, remaining, 0)
                }
            }
            remaining = 0
            guard count >= 0 else {
                if count == -Int(EINTR) { continue }
                reset()
                throw count == -Int(EAGAIN) ? .timedOut : Errno(rawValue: CInt(clamping: -count))
            }
            start += count
        }
    }

    /// Drops what waits. A message being written keeps its place, as it does across a flush.
    package func reset() { start = end }

    private func rewindIfEmpty() {
        if start == end {
            start = 0
            end = 0
        }
    }
}
