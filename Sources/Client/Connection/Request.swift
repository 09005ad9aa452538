public import SystemPackage
internal import VFIOUserWire

extension Client {
    /// A command to be sent: for pipelining, and for messages the typed calls would not send.
    public struct Request: Sendable {
        /// The command's number.
        public var command: UInt16
        /// What follows the header.
        public var payload: [UInt8]
        /// Descriptors that go along; they must stay open until the request is sent.
        public var files: [FileDescriptor]
        /// The flags of the header: 0, or 0x10 for a command that is not answered.
        public var flags: UInt32

        /// Any command with any payload.
        public init(
            rawCommand command: UInt16, payload: [UInt8] = [], files: [FileDescriptor] = [], flags: UInt32 = 0
        ) {
            self.command = command
            self.payload = payload
            self.files = files
            self.flags = flags
        }

        /// Whether the server answers it.
        public var expectsReply: Bool { !MessageHeader.Flags(rawValue: flags).contains(.noReply) }

        /// The same request, not to be answered, be it by an error.
        public func withoutReply() -> Request {
            var request = self
            request.flags |= MessageHeader.Flags.noReply.rawValue
            return request
        }
    }
}

extension Client.Request {
    init<Payload: WirePayload>(
        _ command: Command, _ payload: Payload, data: [UInt8] = [], files: [FileDescriptor] = []
    ) {
        // A struct of the wire always fits the room it is given below.
        let head = (try? Self.bytes(of: payload)) ?? []
        self.init(rawCommand: command.rawValue, payload: head + data, files: files)
    }

    /// The bytes of a struct of the wire, at most 64.
    ///
    /// - Throws: `ENOBUFS` for a longer one.
    static func bytes<Payload: WirePayload>(of payload: Payload) throws(Errno) -> [UInt8] {
        var room: [64 of UInt8] = .init(repeating: 0)
        var count = 0
        do {
            var span = room.mutableSpan
            // Writing raw bytes into bytes.
            var writer = Writer(unsafe span.mutableBytes)
            try payload.encode(into: &writer)
            count = writer.written
        }
        // Bytes copied while the array is on the stack.
        return unsafe room.span.extracting(first: count).withUnsafeBytes { unsafe Array($0) }
    }

    /// The whole message.
    func message(id: UInt16) -> [UInt8] {
        let size = payload.count + MessageHeader.byteCount
        let header = MessageHeader(
            id: id, command: command, size: UInt32(clamping: size),
            flags: MessageHeader.Flags(rawValue: flags))
        return ((try? Self.bytes(of: header)) ?? []) + payload
    }
}

/// Requests of the device commands.
extension Client.Request {
    /// DEVICE_GET_INFO.
    public static var deviceInfo: Self { Self(.deviceGetInfo, DeviceInfo()) }

    /// DEVICE_RESET.
    public static var reset: Self { Self(rawCommand: Command.deviceReset.rawValue) }

    /// DEVICE_GET_REGION_INFO; `argumentSize` is the longest reply payload taken.
    public static func regionInfo(_ region: Client.Region, argumentSize: UInt32 = 32) -> Self {
        Self(.deviceGetRegionInfo, RegionInfo(index: region.rawValue, argsz: argumentSize))
    }

    /// DEVICE_GET_REGION_IO_FDS; `argumentSize` is the longest reply payload taken.
    public static func regionIOFDs(_ region: Client.Region, argumentSize: UInt32 = 16) -> Self {
        Self(.deviceGetRegionIOFDs, RegionIOFDs(index: region.rawValue, argsz: argumentSize))
    }

    /// DEVICE_GET_IRQ_INFO.
    public static func interruptInfo(_ kind: Client.Interrupt) -> Self {
        Self(.deviceGetIRQInfo, IRQInfo(index: kind.rawValue))
    }

    /// REGION_READ of so many bytes.
    public static func read(_ region: Client.Region, at offset: UInt64, count: UInt32) -> Self {
        Self(.regionRead, RegionAccess(offset: offset, region: region.rawValue, count: count))
    }

    /// REGION_WRITE of bytes.
    public static func write(_ bytes: [UInt8], to region: Client.Region, at offset: UInt64) -> Self {
        Self(
            .regionWrite,
            RegionAccess(offset: offset, region: region.rawValue, count: UInt32(clamping: bytes.count)),
            data: bytes)
    }

    /// REGION_WRITE of an integer.
    public static func write<Value: FixedWidthInteger & BitwiseCopyable>(
        _ value: Value, to region: Client.Region, at offset: UInt64
    ) -> Self {
        // The bytes of an integer, in the order of this machine, which is the wire's.
        write(unsafe withUnsafeBytes(of: value) { unsafe Array($0) }, to: region, at: offset)
    }

    /// DMA_MAP; the file, if any, goes along.
    public static func map(
        _ file: FileDescriptor?, offset: UInt64 = 0, size: UInt64, at iova: UInt64,
        rights: Client.DMARights = .readWrite, mode: Client.DMAMode = .serverChoice
    ) -> Self {
        let flags = DMAMap.Flags(rawValue: rights.rawValue | mode.rawValue)
        return Self(
            .dmaMap, DMAMap(flags: flags, offset: offset, address: iova, size: size),
            files: file.map { [$0] } ?? [])
    }

    /// DMA_UNMAP of exactly one mapping.
    public static func unmap(_ iova: UInt64, size: UInt64) -> Self {
        Self(.dmaUnmap, DMAUnmap(address: iova, size: size))
    }
}
