/// What may be done with memory, in the bits of PROT_READ and PROT_WRITE.
@frozen
@usableFromInline
package struct AccessRights: OptionSet, Sendable {
    @usableFromInline package let rawValue: UInt8

    @inlinable
    package init(rawValue: UInt8) { self.rawValue = rawValue }

    /// PROT_READ.
    @inlinable
    package static var read: AccessRights { AccessRights(rawValue: 1) }
    /// PROT_WRITE.
    @inlinable
    package static var write: AccessRights { AccessRights(rawValue: 2) }
    @inlinable
    package static var readWrite: AccessRights { AccessRights(rawValue: 3) }
    /// The same number in `denied` of a mapping's record says that no translation may find it.
    @inlinable
    static var hidden: UInt8 { 0x80 }

    /// The rights among the bits of a C protection; others are dropped.
    @inlinable
    package init(protection: CInt) { rawValue = UInt8(truncatingIfNeeded: protection) & 3 }
}

/// What copying to and from mapped memory has to mind.
@usableFromInline
package struct AccessCare: OptionSet, Sendable {
    @usableFromInline package let rawValue: UInt8

    @inlinable
    package init(rawValue: UInt8) { self.rawValue = rawValue }

    /// The file may become shorter under the mapping: copy by pread and pwrite.
    static var guarded: AccessCare { AccessCare(rawValue: 1) }
    /// A dma-buf: its exporter is told of each use.
    static var synchronized: AccessCare { AccessCare(rawValue: 2) }
}

/// What the server remembers of a mapping.
struct MappingNotes: OptionSet, Sendable {
    let rawValue: UInt8

    /// The device has been told of it, and not of its end.
    static var registered: MappingNotes { MappingNotes(rawValue: 1) }
    /// Its IOVA came from the device's own allocator, which is to be told of its end.
    static var allocated: MappingNotes { MappingNotes(rawValue: 2) }
}

/// How the bytes of a mapping are reached (c-api, DMA access modes).
package enum AccessMode: UInt8, Sendable {
    /// By DMA_READ and DMA_WRITE messages to the client.
    case message = 0
    /// The file is mapped into this process.
    case mapped = 1
    /// By pread and pwrite.
    case fileIO = 2
}
