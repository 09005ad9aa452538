public import SystemPackage

// Types on hot paths are @usableFromInline and import SystemPackage publicly: without both, the compiler does not
// inline their @inlinable members into other modules.

/// A struct of the protocol: packed, in host byte order, its length known.
///
/// Data of variable length after it (written bytes, bitmaps, ranges) stays in the reader, which stands at
/// its first byte once the struct is decoded. Decoding makes the checks that need nothing but the bytes;
/// whether an index exists or a flag is allowed is for the server to say.
@usableFromInline package protocol WirePayload: Equatable, Sendable {
    /// Bytes of the struct on the wire, data of variable length not included.
    static var byteCount: Int { get }

    /// Takes the struct from the reader.
    ///
    /// - Throws: EINVAL when bytes are missing or the struct contradicts itself.
    init(decoding reader: inout Reader) throws(Errno)

    /// Adds the struct to what is written.
    ///
    /// - Throws: ENOBUFS, with nothing written, when there is no room.
    func encode(into writer: inout Writer) throws(Errno)
}

extension WirePayload {
    /// The struct's size as an `argsz` value.
    @inlinable package static var argumentByteCount: UInt32 { UInt32(truncatingIfNeeded: byteCount) }

    /// Requires an `argsz` that covers the struct.
    @inlinable static func check(argsz: UInt32) throws(Errno) {
        guard argsz >= argumentByteCount else { throw .invalidArgument }
    }
}
