internal import VFIOUserWire

extension Client {
    /// An I/O address space (IOAS) that this client has at its server: a set of mappings from IOVAs to memory.
    /// The device sees the one that is attached.
    ///
    /// Source: iommufd extension of vfio-user. Only on connections in IOAS mode
    /// (``Client/ServerDescription/ioas``).
    public struct IOAS: RawRepresentable, Hashable, Sendable {
        /// Its id on the wire, from 1 on; ids of a connection are not used again.
        public let rawValue: UInt32
        /// The address space with this id.
        public init(rawValue: UInt32) { self.rawValue = rawValue }
    }

    /// Optional parts of IOAS mode: those that a client would use, or that a server grants it.
    ///
    /// Source: iommufd extension of vfio-user, "Negotiation".
    public struct IOASFeatures: OptionSet, Hashable, Sendable {
        /// A bit for each; no numbers of the wire.
        public let rawValue: UInt32
        /// Any bits; those that mean nothing are not offered.
        public init(rawValue: UInt32) { self.rawValue = rawValue }

        /// `x-fixed-iova`: the client may choose IOVAs.
        public static var fixedIOVA: Self { Self(.fixedIOVA) }
        /// `x-copy`: ``Client/copy(_:size:from:to:at:rights:)``.
        public static var copy: Self { Self(.copy) }
        /// `x-iova-ranges`: ``Client/iovaRanges(of:)``.
        public static var iovaRanges: Self { Self(.iovaRanges) }
        /// `x-compat-ioas`: one address space can be changed by DMA_MAP and DMA_UNMAP too.
        public static var compatibility: Self { Self(.compatIOAS) }
        /// `x-reply-args`: unmapping tells how many bytes went.
        public static var replyArguments: Self { Self(.replyArguments) }
        /// `x-message-dma`: memory without a file can be mapped.
        public static var messageDMA: Self { Self(.messageDMA) }
        /// Everything there is.
        public static var all: Self { Self(.all) }

        init(_ wire: VFIOUserWire.IOASFeatures) { self.init(rawValue: wire.rawValue) }

        var wire: VFIOUserWire.IOASFeatures { VFIOUserWire.IOASFeatures(rawValue: rawValue) }
    }

    /// What IOVA_RANGES says about an address space.
    public struct IOVARanges: Sendable, Equatable {
        /// The IOVAs there may be, both ends included, in bytes.
        public let ranges: [ClosedRange<UInt64>]
        /// What chosen IOVAs must be a multiple of, in bytes: a power of two.
        public let alignment: UInt64
    }
}
