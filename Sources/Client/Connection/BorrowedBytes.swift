/// Bytes to be sent from where they are.
///
/// Safety: whoever makes a value keeps its bytes in place while the call it is given to lasts; the call does
/// not keep it.
@safe struct BorrowedBytes {
    let buffer: UnsafeRawBufferPointer

    /// No bytes.
    static var none: BorrowedBytes { unsafe BorrowedBytes(UnsafeRawBufferPointer(start: nil, count: 0)) }

    @unsafe init(_ buffer: UnsafeRawBufferPointer) { unsafe self.buffer = buffer }

    var count: Int { unsafe buffer.count }
}
