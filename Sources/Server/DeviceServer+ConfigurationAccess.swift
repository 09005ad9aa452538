public import SystemPackage

extension DeviceServer {
    /// Two bytes of configuration space as the client sees them, for devices that ask what it has enabled.
    ///
    /// - Parameter offset: bytes; with the value within configuration space.
    /// - Throws: `EINVAL` not within it, or there is none yet.
    public func configurationWord(at offset: Int) throws(Errno) -> UInt16 {
        let space = try configurationSpace()
        guard offset >= 0, offset <= space.size - 2 else { throw .invalidArgument }
        // Both bytes lie within the space.
        return unsafe UInt16(space.unsafeBytes[offset]) | UInt16(space.unsafeBytes[offset + 1]) << 8
    }
}
