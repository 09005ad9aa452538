package import SystemPackage

/// The fixed part of VERSION, request and reply. The rest of the payload is the optional capability text.
///
/// Source: vfio-user protocol, "VERSION".
package struct Version: WirePayload, BitwiseCopyable {
    package static var byteCount: Int { 4 }

    package var major: UInt16
    package var minor: UInt16

    package init(major: UInt16, minor: UInt16) {
        self.major = major
        self.minor = minor
    }

    /// The version spoken here.
    package static var current: Version { Version(major: Limits.majorVersion, minor: Limits.minorVersion) }

    /// The version of a connection to a client that sent this one: the lower minor number.
    ///
    /// - Throws: EINVAL when the major number is another one.
    package func negotiated() throws(Errno) -> Version {
        guard major == Limits.majorVersion else { throw .invalidArgument }
        return Version(major: major, minor: min(minor, Limits.minorVersion))
    }

    package init(decoding reader: inout Reader) throws(Errno) {
        try reader.require(Self.byteCount)
        major = reader.uint16()
        minor = reader.uint16()
    }

    package func encode(into writer: inout Writer) throws(Errno) {
        try writer.require(Self.byteCount)
        writer.put(major)
        writer.put(minor)
    }
}
