/// What a client says about itself when it connects, and how patient it is.
///
/// Source: vfio-user protocol, VERSION.
public struct ClientOptions: Sendable {
    /// The capability text of VERSION.
    public enum CapabilityText: Sendable {
        /// Built from the options.
        case fromOptions
        /// These characters and a NUL, whatever the options say.
        case verbatim(String)
        /// No text: the server has to assume the protocol's defaults.
        case none
    }

    /// Protocol version offered: major number.
    public var majorVersion: UInt16 = 0
    /// Protocol version offered: highest minor number.
    public var minorVersion: UInt16 = 2
    /// `max_msg_fds`: descriptors taken with one message, 0...1024. A twin socket needs 1.
    public var maxFDs = 8
    /// `max_data_xfer_size`: most data of one message in bytes, 1...1 MiB. Also bounds the pieces of this
    /// client's own reads and writes.
    public var maxTransfer = 1 << 20
    /// `twin_socket`: ask for a second socket on which the server sends its commands.
    public var wantsTwinSocket = false
    /// `write_multiple`: ask for REGION_WRITE_MULTI.
    public var wantsWriteMultiple = false
    /// `migration.pgsize`: page size of dirty bitmaps in bytes; nil says nothing.
    public var migrationPageSize: Int64?
    /// `migration.max_bitmap_size`: longest dirty bitmap taken, in bytes; nil says nothing.
    public var maxBitmapSize: Int64?
    /// `pgsizes`: page sizes the client maps, a bit each; nil says nothing.
    public var pageSizes: Int64?
    /// `max_dma_maps`: most DMA mappings the client makes; nil says nothing.
    public var maxDMAMaps: Int64?
    /// `iommufd`: offer IOAS mode, and to use these features of it (`[]`: none of the optional ones); nil
    /// leaves it at legacy mode. What came of it is in ``Client/ServerDescription/ioas``.
    public var ioas: Client.IOASFeatures?
    /// The capability text sent.
    public var capabilityText = CapabilityText.fromOptions
    /// Connect without sending VERSION. The first messages are then up to the caller (`Client.send(_:)` and
    /// so on).
    public var skipsNegotiation = false
    /// How long to wait for the server to go on before a call fails with `ETIMEDOUT`; nil waits for ever.
    public var timeout: Duration?

    /// Those of a client that maps memory by descriptors and answers DMA messages on the one socket.
    public init() {}
}
