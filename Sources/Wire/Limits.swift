/// Numbers both ends of the protocol agree on. Sizes are in bytes.
@usableFromInline package enum Limits {
    /// Protocol version spoken here: major number. Another major number is refused.
    @inlinable package static var majorVersion: UInt16 { 0 }
    /// Protocol version spoken here: highest minor number.
    @inlinable package static var minorVersion: UInt16 { 2 }

    /// Most data one message transfers: region access, DMA access, migration data.
    @inlinable package static var maxTransferByteCount: Int { 1_048_576 }
    /// Largest message, header included: a header, a region access struct and the most data.
    @inlinable package static var maxMessageByteCount: Int { 1_048_608 }
    /// Largest `argsz` of requests that ask for an answer of variable length.
    @inlinable package static var maxArgumentByteCount: UInt32 { 1_048_576 }

    /// Descriptors per message this implementation advertises (`max_msg_fds`).
    @inlinable package static var defaultMaxFDs: Int { 8 }
    /// Descriptors per message of a peer that does not say.
    @inlinable package static var unstatedMaxFDs: Int { 1 }
    /// Largest `max_msg_fds` accepted from a peer.
    @inlinable package static var largestMaxFDs: Int { 1024 }

    /// Longest capability text accepted, its NUL included.
    @inlinable package static var maxCapabilityByteCount: Int { 65_536 }
}
