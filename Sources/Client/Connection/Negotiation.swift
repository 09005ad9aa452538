internal import SystemPackage
internal import VFIOUserSystem
internal import VFIOUserTransport
internal import VFIOUserWire

extension Client {
    /// What a server said about itself in VERSION.
    public struct ServerDescription: Sendable, Equatable {
        /// Protocol version of the connection: major number.
        public internal(set) var majorVersion: UInt16 = 0
        /// Protocol version of the connection: minor number.
        public internal(set) var minorVersion: UInt16 = 0
        /// `max_msg_fds`: descriptors the server takes with one message.
        public internal(set) var maxFDs = Limits.unstatedMaxFDs
        /// `max_data_xfer_size`: most data the server takes in one message, in bytes.
        public internal(set) var maxTransfer = Limits.maxTransferByteCount
        /// `migration.pgsize`: page size of its dirty bitmaps, in bytes; nil if it does not migrate.
        public internal(set) var migrationPageSize: Int64?
        /// Whether the server sends its commands on a second socket.
        public internal(set) var hasTwinSocket = false
        /// Whether it takes REGION_WRITE_MULTI.
        public internal(set) var writesMultiple = false
        /// `pgsizes`: page sizes it can map, a bit each; nil if it does not say.
        public internal(set) var pageSizes: Int64?
        /// `max_dma_maps`: most mappings it takes; nil if it does not say.
        public internal(set) var maxDMAMaps: Int64?
        /// `iommufd`: what it grants of IOAS mode; nil if the connection is in legacy mode. In IOAS mode the
        /// device sees no memory before an address space is attached (``Client/attach(_:)``).
        public internal(set) var ioas: IOASFeatures?
        /// The capability text as received, without its NUL; nil without one or if it is not UTF-8.
        public internal(set) var capabilityText: String?
    }

    /// Sends VERSION and takes the reply in.
    func negotiate(_ options: ClientOptions) throws(Errno) {
        var request = try Request.bytes(of: Version(major: options.majorVersion, minor: options.minorVersion))
        switch options.capabilityText {
        case .fromOptions: request += try options.capabilities.text()
        case .verbatim(let text): request += Array(text.utf8) + [0]
        case .none: break
        }
        let id = try send(Request(rawCommand: Command.version.rawValue, payload: request))
        let reply = try self.reply(to: id).successful()

        var reader = Reader(reply.payload.span)
        let version = try decodingReply { () throws(Errno) in try Version(decoding: &reader) }
        guard version.major == options.majorVersion, version.minor <= options.minorVersion else {
            throw .protocolError
        }
        let text = reply.payload.dropFirst(Version.byteCount)
        let granted = try decodingReply { () throws(Errno) in
            try ServerCapabilities(decoding: &reader, readingIOMMUFD: options.ioas != nil)
        }
        server.majorVersion = version.major
        server.minorVersion = version.minor
        server.maxFDs = granted.maxFDs
        server.maxTransfer = granted.maxTransferByteCount
        server.migrationPageSize = granted.migrationPageSize
        server.writesMultiple = granted.writeMultiple
        server.pageSizes = granted.pageSizes
        server.maxDMAMaps = granted.maxDMAMaps
        if let ioas = granted.iommufd.map(IOASFeatures.init) {
            guard options.ioas?.isSuperset(of: ioas) == true else { throw .protocolError }
            server.ioas = ioas
            responder.table.beginIOAS()
        }
        server.capabilityText = text.isEmpty ? nil : String(validating: text.dropLast(), as: UTF8.self)
        maxTransfer = min(options.maxTransfer, granted.maxTransferByteCount)
        if let index = granted.twinSocketFDIndex {
            guard reply.files.indices.contains(index) else { throw .protocolError }
            try adoptTwin(reply.files[index])
        }
    }

    private func adoptTwin(_ file: OwnedFile) throws(Errno) {
        // The message's owner closes its own; this one is the channel's.
        let twin = try Channel(OwnedFD(duplicating: file.descriptor), responder)
        twin.timeout = channel.timeout
        channel.companion = twin
        server.hasTwinSocket = true
    }
}

extension ClientOptions {
    /// The wire's form of the options.
    var capabilities: ClientCapabilities {
        var capabilities = ClientCapabilities()
        capabilities.maxFDs = maxFDs
        capabilities.maxTransferByteCount = maxTransfer
        capabilities.migrationPageSize = migrationPageSize
        capabilities.maxBitmapByteCount = maxBitmapSize
        capabilities.wantsTwinSocket = wantsTwinSocket
        capabilities.writeMultiple = wantsWriteMultiple
        capabilities.pageSizes = pageSizes
        capabilities.maxDMAMaps = maxDMAMaps
        capabilities.iommufd = ioas?.wire
        return capabilities
    }
}
