internal import SystemPackage

/// What both directions of the capability text share.
enum Capabilities {
    /// Values of `max_msg_fds` accepted.
    static var maxFDs: ClosedRange<Int64> { 0...Int64(Limits.largestMaxFDs) }

    /// Reads `max_data_xfer_size`, cut to 1 MiB; that is also what a peer means that does not say.
    ///
    /// - Throws: EINVAL if it is not a positive integer.
    static func maxTransfer(_ capabilities: JSONView) throws(Errno) -> Int {
        let most = Int64(Limits.maxTransferByteCount)
        let value = try capabilities.integer("max_data_xfer_size", in: 1...Int64.max) ?? most
        return Int(min(value, most))
    }

    /// Takes the rest of a VERSION payload apart, unless it is empty, and gives its `capabilities` to a
    /// closure.
    ///
    /// The closure is not called, and the result nil, without a text, for a text that is no object, and for
    /// one without capabilities: then the defaults hold.
    ///
    /// - Throws: EINVAL if the text is malformed or `capabilities` is no object; ENOMEM; or what the
    ///   closure throws.
    static func parse<Result>(
        _ text: RawSpan, _ body: (JSONView) throws(Errno) -> Result
    ) throws(Errno) -> Result? {
        guard !text.isEmpty else { return nil }
        let document = try JSONDocument(parsing: text)
        guard let capabilities = try document.value.object("capabilities") else { return nil }
        return try body(capabilities)
    }

    /// The text with these capabilities, and the NUL that ends it.
    ///
    /// - Throws: ENOMEM.
    static func text(_ capabilities: consuming JSONBuilder) throws(Errno) -> [UInt8] {
        var document = try JSONBuilder()
        try document.add("capabilities", capabilities)
        return try document.text()
    }
}
