extension Reader {
    /// The next byte; it must have been required.
    package mutating func uint8() -> UInt8 {
        // In bounds by the load's own check, valid for any bits: see the type.
        let value = unsafe bytes.unsafeLoadUnaligned(fromByteOffset: position, as: UInt8.self)
        position &+= 1
        return value
    }
}
