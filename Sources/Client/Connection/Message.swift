public import SystemPackage
internal import VFIOUserWire

extension Client {
    /// A whole message as it came, for those who look at more than the typed calls show.
    public struct Message: Sendable {
        /// Chosen by the sender of the command.
        public var id: UInt16
        /// The command's number.
        public var command: UInt16
        /// The flags of the header, type included.
        public var flags: UInt32
        /// The error field of the header.
        public var errorNumber: UInt32
        /// What followed the header.
        public var payload: [UInt8]
        /// The descriptors that came along.
        public var files: [OwnedFile]

        init(_ header: MessageHeader, payload: [UInt8], files: [OwnedFile]) {
            id = header.id
            command = header.command
            flags = header.flags.rawValue
            errorNumber = header.errorNumber
            self.payload = payload
            self.files = files
        }

        /// Whether it answers a command of this client.
        public var isReply: Bool { MessageHeader.Flags(rawValue: flags).isReply }

        /// The errno of an error reply; nil of any other message. Numbers that are no errno count as
        /// `EINVAL`.
        public var error: Errno? {
            let flags = MessageHeader.Flags(rawValue: self.flags)
            guard flags.isReply, flags.contains(.error) else { return nil }
            return MessageHeader(id: id, command: command, size: 0, errorNumber: errorNumber).error
        }
    }
}
