package import SystemPackage

extension Translator {
    /// Whether an entry still refers to a mapping the device sees, and lies within it.
    ///
    /// Throws `EINVAL` if not.
    package func validate(_ entry: SGEntry) throws(Errno) {
        guard unsafe record(of: entry) != nil else { throw .invalidArgument }
    }
}
