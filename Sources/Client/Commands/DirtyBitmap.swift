extension Client {
    /// Which pages of a range the device has written.
    public struct DirtyBitmap: Sendable, Equatable {
        /// First address of the range.
        public let iova: UInt64
        /// Bytes of the range.
        public let size: UInt64
        /// Bytes of a page.
        public let pageSize: UInt64
        /// Bit i of byte j stands for page 8j + i. Bits beyond the range may be set.
        public let bytes: [UInt8]

        /// Whether a page of the range, counted from its start, is dirty; false outside the range.
        public func isDirty(_ page: UInt64) -> Bool {
            guard pageSize > 0, size > 0, page <= (size - 1) / pageSize else { return false }
            guard let place = Int(exactly: page / 8), bytes.indices.contains(place) else { return false }
            return bytes[place] >> UInt8(page % 8) & 1 == 1
        }

        /// The dirty pages of the range, ascending, counted from its start.
        public var dirtyPages: [UInt64] {
            bytes.indices.flatMap { place in (0..<8).map { UInt64(place) * 8 + $0 } }.filter(isDirty)
        }
    }
}
