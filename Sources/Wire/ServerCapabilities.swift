package import SystemPackage

/// What a server says about itself in its VERSION reply.
///
/// Source: vfio-user protocol, VERSION; `iommufd`: iommufd extension of vfio-user, "Negotiation".
package struct ServerCapabilities: Equatable, Sendable {
    /// `max_msg_fds`: descriptors the server takes with one message, 0...1024.
    package var maxFDs: Int
    /// `max_data_xfer_size`: most data the server takes in one message, 1 byte to 1 MiB.
    package var maxTransferByteCount = Limits.maxTransferByteCount
    /// `migration.pgsize`: page size of its dirty bitmaps in bytes, a power of two; nil if it does not
    /// migrate.
    package var migrationPageSize: Int64?
    /// `twin_socket`: which of the reply's descriptors is the second socket; nil if there is none.
    package var twinSocketFDIndex: Int?
    /// `write_multiple`: it takes REGION_WRITE_MULTI.
    package var writeMultiple = false
    /// `pgsizes`: page sizes it can map, a bit each.
    package var pageSizes: Int64?
    /// `max_dma_maps`: most mappings a client may make.
    package var maxDMAMaps: Int64?
    /// `iommufd`: the features of IOAS mode it grants; nil in legacy mode.
    package var iommufd: IOASFeatures?

    /// Those of this implementation, optional parts left out.
    package init() { maxFDs = Limits.defaultMaxFDs }

    /// Decodes the rest of a VERSION reply's payload; without text the protocol's defaults hold.
    ///
    /// - Parameter readingIOMMUFD: false ignores the object `iommufd`, for a client that did not offer it.
    /// - Throws: EINVAL if the text is malformed, a known key has a wrong type or is out of range (more than
    ///   1 MiB of `max_data_xfer_size` is cut instead); ENOMEM.
    package init(decoding reader: inout Reader, readingIOMMUFD: Bool) throws(Errno) {
        let parsed = try Capabilities.parse(reader.rest()) { capabilities throws(Errno) in
            try Self(capabilities, readingIOMMUFD: readingIOMMUFD)
        }
        self = parsed ?? Self(maxFDs: Limits.unstatedMaxFDs)
    }

    private init(maxFDs: Int) { self.maxFDs = maxFDs }

    private init(_ capabilities: JSONView, readingIOMMUFD: Bool) throws(Errno) {
        let positive = 1...Int64.max
        let maxFDs = try capabilities.integer("max_msg_fds", in: Capabilities.maxFDs)
        self.init(maxFDs: maxFDs.map { Int($0) } ?? Limits.unstatedMaxFDs)
        maxTransferByteCount = try Capabilities.maxTransfer(capabilities)
        if let migration = try capabilities.object("migration"),
            let pageSize = try migration.integer("pgsize", in: positive)
        {
            guard pageSize & (pageSize - 1) == 0 else { throw .invalidArgument }
            migrationPageSize = pageSize
        }
        if let twin = try capabilities.object("twin_socket") {
            let index = try twin.integer("fd_index", in: 0...Int64(Limits.largestMaxFDs - 1))
            if try twin.boolean("supported") ?? false {
                guard let index else { throw .invalidArgument }
                twinSocketFDIndex = Int(index)
            }
        }
        writeMultiple = try capabilities.boolean("write_multiple") ?? false
        pageSizes = try capabilities.integer("pgsizes", in: positive)
        maxDMAMaps = try capabilities.integer("max_dma_maps", in: positive)
        if readingIOMMUFD { iommufd = try IOASFeatures.parse(capabilities) }
    }

    /// The text and the NUL that ends it; keys without a value are left out.
    ///
    /// - Throws: ENOMEM.
    package func text() throws(Errno) -> [UInt8] {
        var capabilities = try JSONBuilder()
        try capabilities.add("max_msg_fds", Int64(maxFDs))
        try capabilities.add("max_data_xfer_size", Int64(maxTransferByteCount))
        if let migrationPageSize {
            var migration = try JSONBuilder()
            try migration.add("pgsize", migrationPageSize)
            try capabilities.add("migration", migration)
        }
        if let twinSocketFDIndex {
            var twin = try JSONBuilder()
            try twin.add("supported", true)
            try twin.add("fd_index", Int64(twinSocketFDIndex))
            try capabilities.add("twin_socket", twin)
        }
        if writeMultiple { try capabilities.add("write_multiple", true) }
        if let pageSizes { try capabilities.add("pgsizes", pageSizes) }
        if let maxDMAMaps { try capabilities.add("max_dma_maps", maxDMAMaps) }
        if let iommufd { try iommufd.add(to: &capabilities) }
        return try Capabilities.text(capabilities)
    }

    /// Adds the text and its NUL: the rest of a VERSION reply's payload.
    ///
    /// - Throws: ENOBUFS, ENOMEM.
    package func encode(into writer: inout Writer) throws(Errno) {
        let text = try text()
        try writer.append(text.span)
    }
}
