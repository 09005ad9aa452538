package import SystemPackage

/// What a client says about itself in VERSION. Every key may be missing.
///
/// Source: vfio-user protocol, VERSION; `iommufd`: iommufd extension of vfio-user, "Negotiation".
package struct ClientCapabilities: Equatable, Sendable {
    /// `max_msg_fds`: descriptors the client takes with one message, 0...1024.
    package var maxFDs = Limits.unstatedMaxFDs
    /// `max_data_xfer_size`: most data the client takes in one message, 1 byte to 1 MiB.
    package var maxTransferByteCount = Limits.maxTransferByteCount
    /// `migration.pgsize`: page size of its dirty bitmaps in bytes, unchecked; 0 means the same as nil.
    package var migrationPageSize: Int64?
    /// `migration.max_bitmap_size`: longest bitmap it takes, in bytes, unchecked.
    package var maxBitmapByteCount: Int64?
    /// `twin_socket.supported`: it wants a second socket for the server's commands.
    package var wantsTwinSocket = false
    /// `write_multiple`: it would send REGION_WRITE_MULTI.
    package var writeMultiple = false
    /// `pgsizes`: page sizes it can map, a bit each, unchecked.
    package var pageSizes: Int64?
    /// `max_dma_maps`: most mappings it makes, unchecked.
    package var maxDMAMaps: Int64?
    /// `iommufd`: the features of IOAS mode it offers; nil if it offers legacy mode only.
    package var iommufd: IOASFeatures?

    /// Those of a client that says nothing.
    package init() {}

    /// Decodes the rest of a VERSION request's payload; without text the defaults hold.
    ///
    /// Keys the reference server does not know are not judged: with a wrong type they count as missing.
    ///
    /// - Parameter readingIOMMUFD: false ignores the object `iommufd`, however malformed.
    /// - Throws: EINVAL if the text is malformed, a key has a wrong type, `max_msg_fds` or
    ///   `max_data_xfer_size` is out of range (more than 1 MiB is cut instead); ENOMEM.
    package init(decoding reader: inout Reader, readingIOMMUFD: Bool) throws(Errno) {
        let parsed = try Capabilities.parse(reader.rest()) { capabilities throws(Errno) in
            try Self(capabilities, readingIOMMUFD: readingIOMMUFD)
        }
        self = parsed ?? Self()
    }

    private init(_ capabilities: JSONView, readingIOMMUFD: Bool) throws(Errno) {
        if let value = try capabilities.integer("max_msg_fds", in: Capabilities.maxFDs) {
            maxFDs = Int(value)
        }
        maxTransferByteCount = try Capabilities.maxTransfer(capabilities)
        if let migration = try capabilities.object("migration") {
            migrationPageSize = try migration.integer("pgsize")
            maxBitmapByteCount = migration.anyInteger("max_bitmap_size")
        }
        if let twin = try capabilities.object("twin_socket") {
            wantsTwinSocket = try twin.boolean("supported") ?? false
        }
        writeMultiple = capabilities.anyBoolean("write_multiple") ?? false
        pageSizes = capabilities.anyInteger("pgsizes")
        maxDMAMaps = capabilities.anyInteger("max_dma_maps")
        if readingIOMMUFD { iommufd = try IOASFeatures.parse(capabilities) }
    }

    /// The text and the NUL that ends it; keys without a value are left out.
    ///
    /// - Throws: ENOMEM.
    package func text() throws(Errno) -> [UInt8] {
        var capabilities = try JSONBuilder()
        try capabilities.add("max_msg_fds", Int64(maxFDs))
        try capabilities.add("max_data_xfer_size", Int64(maxTransferByteCount))
        if migrationPageSize != nil || maxBitmapByteCount != nil {
            var migration = try JSONBuilder()
            if let migrationPageSize { try migration.add("pgsize", migrationPageSize) }
            if let maxBitmapByteCount { try migration.add("max_bitmap_size", maxBitmapByteCount) }
            try capabilities.add("migration", migration)
        }
        if wantsTwinSocket {
            var twin = try JSONBuilder()
            try twin.add("supported", true)
            try capabilities.add("twin_socket", twin)
        }
        if writeMultiple { try capabilities.add("write_multiple", true) }
        if let pageSizes { try capabilities.add("pgsizes", pageSizes) }
        if let maxDMAMaps { try capabilities.add("max_dma_maps", maxDMAMaps) }
        if let iommufd { try iommufd.add(to: &capabilities) }
        return try Capabilities.text(capabilities)
    }

    /// Adds the text and its NUL: the rest of a VERSION request's payload.
    ///
    /// - Throws: ENOBUFS, ENOMEM.
    package func encode(into writer: inout Writer) throws(Errno) {
        let text = try text()
        try writer.append(text.span)
    }
}
