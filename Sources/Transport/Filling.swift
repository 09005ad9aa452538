extension MutableRawSpan {
    /// Lets `body` append bytes from the first of these on; those it does not reach keep their value.
    ///
    /// - Returns: how many bytes it appended.
    @_lifetime(self: copy self)
    package mutating func fill<Failure: Error>(
        _ body: (inout OutputRawSpan) throws(Failure) -> Void
    ) throws(Failure) -> Int {
        try unsafe withUnsafeMutableBytes { (buffer) throws(Failure) -> Int in
            // The bytes are valid in this closure and initialised; the span over them stays in it.
            var output = unsafe OutputRawSpan(buffer: buffer, initializedCount: 0)
            try body(&output)
            return min(output.byteCount, buffer.count)
        }
    }
}
