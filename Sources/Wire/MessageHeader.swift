public import SystemPackage

/// The 16 bytes in front of every message.
///
/// Decoding checks only that they are there: what to answer to a bad type or size depends on the
/// connection's state. Source: vfio-user protocol, "Header".
@usableFromInline package struct MessageHeader: WirePayload, BitwiseCopyable {
    /// Bits 0-3 are the message type, not independent flags; bits 6-31 mean nothing and are ignored.
    @usableFromInline package struct Flags: OptionSet, Sendable, BitwiseCopyable {
        @usableFromInline package let rawValue: UInt32
        @inlinable package init(rawValue: UInt32) { self.rawValue = rawValue }

        /// Message type 1; type 0, no bit, is a command.
        @inlinable package static var reply: Self { Self(rawValue: 0x1) }
        /// In a command: it is carried out and never answered.
        @inlinable package static var noReply: Self { Self(rawValue: 0x10) }
        /// In a reply: the command failed with `errorNumber`.
        @inlinable package static var error: Self { Self(rawValue: 0x20) }

        /// Message type, 0...15: 0 command, 1 reply, others undefined.
        @inlinable package var messageType: UInt32 { rawValue & 0xf }
        @inlinable package var isCommand: Bool { messageType == 0 }
        @inlinable package var isReply: Bool { messageType == 1 }
    }

    @inlinable package static var byteCount: Int { 16 }

    // The fields are in the order of the wire.

    /// Chosen by the sender of a command, echoed in its reply.
    @usableFromInline package var id: UInt16
    /// A `Command`'s raw value, or a number nobody knows.
    @usableFromInline package var command: UInt16
    /// Bytes of the whole message, header included.
    @usableFromInline package var size: UInt32
    @usableFromInline package var flags: Flags
    /// An errno value; meaningful only in a reply with the error flag.
    @usableFromInline package var errorNumber: UInt32

    @inlinable package init(
        id: UInt16, command: UInt16, size: UInt32, flags: Flags = [], errorNumber: UInt32 = 0
    ) {
        self.id = id
        self.command = command
        self.size = size
        self.flags = flags
        self.errorNumber = errorNumber
    }

    /// A command's header. The payload's size must not exceed what a message holds; more is cut to
    /// `UInt32.max`.
    @inlinable package init(id: UInt16, command: Command, payloadByteCount: Int, flags: Flags = []) {
        self.init(
            id: id, command: command.rawValue, size: Self.messageByteCount(payloadByteCount), flags: flags)
    }

    /// The header of a successful reply to this command.
    @inlinable package func reply(payloadByteCount: Int) -> MessageHeader {
        MessageHeader(
            id: id, command: command, size: Self.messageByteCount(payloadByteCount), flags: .reply)
    }

    /// The header of an error reply to this command; such a reply has no payload.
    @inlinable package func errorReply(_ error: Errno) -> MessageHeader {
        MessageHeader(
            id: id, command: command, size: UInt32(truncatingIfNeeded: Self.byteCount),
            flags: [.reply, .error],
            errorNumber: UInt32(truncatingIfNeeded: error.rawValue))
    }

    /// Bytes that follow the header.
    ///
    /// - Throws: EINVAL when `size` is less than the header or more than the largest message.
    @inlinable package func payloadByteCount() throws(Errno) -> Int {
        let total = Int(size)
        guard total >= Self.byteCount, total <= Limits.maxMessageByteCount else { throw .invalidArgument }
        return total - Self.byteCount
    }

    /// The errno an error reply reports: 1...4096 as sent, anything else is EINVAL.
    @inlinable package var error: Errno {
        guard errorNumber >= 1, errorNumber <= 4096 else { return .invalidArgument }
        return Errno(rawValue: CInt(truncatingIfNeeded: errorNumber))
    }

    @inlinable package init(decoding reader: inout Reader) throws(Errno) {
        try reader.require(Self.byteCount)
        self = reader.value(as: Self.self)
    }

    @inlinable package func encode(into writer: inout Writer) throws(Errno) {
        try writer.require(Self.byteCount)
        writer.put(value: self)
    }

    @inlinable static func messageByteCount(_ payloadByteCount: Int) -> UInt32 {
        let (total, overflow) = payloadByteCount.addingReportingOverflow(byteCount)
        return overflow ? .max : UInt32(clamping: total)
    }
}
