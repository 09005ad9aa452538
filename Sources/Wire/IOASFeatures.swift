internal import SystemPackage

/// Optional parts of IOAS mode. On a connection only those may be used that the client offered and the
/// server granted.
///
/// Source: iommufd extension of vfio-user, "Negotiation".
package struct IOASFeatures: OptionSet, Sendable, BitwiseCopyable {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }

    /// The client may choose IOVAs.
    package static var fixedIOVA: Self { Self(rawValue: 1 << 0) }
    /// IOAS_COPY.
    package static var copy: Self { Self(rawValue: 1 << 1) }
    /// IOVA_RANGES.
    package static var iovaRanges: Self { Self(rawValue: 1 << 2) }
    /// COMPAT_IOAS, and DMA_MAP and DMA_UNMAP besides the IOAS commands.
    package static var compatIOAS: Self { Self(rawValue: 1 << 3) }
    /// Replies to ATTACH_PT and IOAS_UNMAP carry their struct.
    package static var replyArguments: Self { Self(rawValue: 1 << 4) }
    /// IOAS_MAP without an fd.
    package static var messageDMA: Self { Self(rawValue: 1 << 5) }
    /// Everything there is.
    package static var all: Self {
        [.fixedIOVA, .copy, .iovaRanges, .compatIOAS, .replyArguments, .messageDMA]
    }

    /// The key of each in the JSON object `iommufd`, in the order they are written.
    private static var keys: [(StaticString, IOASFeatures)] {
        [
            ("x-fixed-iova", .fixedIOVA), ("x-copy", .copy), ("x-iova-ranges", .iovaRanges),
            ("x-compat-ioas", .compatIOAS), ("x-reply-args", .replyArguments), ("x-message-dma", .messageDMA),
        ]
    }

    /// Reads the object `iommufd` of the capabilities; nil if it is not there or `supported` is not true.
    ///
    /// - Throws: EINVAL if it is no object or a known key has a wrong type, whatever `supported` says.
    static func parse(_ capabilities: JSONView) throws(Errno) -> IOASFeatures? {
        guard let iommufd = try capabilities.object("iommufd") else { return nil }
        let supported = try iommufd.boolean("supported") ?? false
        var features: IOASFeatures = []
        for (key, feature) in keys where try iommufd.boolean(key) ?? false { features.insert(feature) }
        return supported ? features : nil
    }

    /// Adds the object `iommufd` to the capabilities.
    ///
    /// - Throws: ENOMEM.
    func add(to capabilities: inout JSONBuilder) throws(Errno) {
        var iommufd = try JSONBuilder()
        try iommufd.add("supported", true)
        for (key, feature) in Self.keys where contains(feature) { try iommufd.add(key, true) }
        try capabilities.add("iommufd", iommufd)
    }
}
