public import SystemPackage
internal import Synchronization

/// Integers that device and client share in client memory, as rings use them: loads and stores are atomic, those of
/// indices ordered against what the ring holds.
///
/// Unsafe inside: a field is only reached at its natural alignment and within the piece, whose memory is there (the
/// caller looks after that, as for ``ClientMemory/address(of:)``).
extension ClientMemory {
    /// A 32-bit field that the client writes last: whatever it wrote before is visible afterwards.
    ///
    /// - Parameter offset: bytes into the piece.
    /// - Throws: `EINVAL` the piece is void, or the field is not within it or not aligned; `EFAULT` it cannot be reached
    ///   by address.
    public func loadAcquiring(_ piece: MemoryPiece, at offset: Int) throws(Errno) -> UInt32 {
        let field = try unsafe field(of: piece, at: offset, as: UInt32.self)
        return unsafe UInt32(littleEndian: field.pointee.load(ordering: .acquiring))
    }

    /// Writes a 32-bit field that the client reads first: it then sees whatever the device wrote before.
    ///
    /// - Throws: as ``loadAcquiring(_:at:)``; `EPERM` the piece was not translated for writing.
    public func storeReleasing(_ value: UInt32, _ piece: MemoryPiece, at offset: Int) throws(Errno) {
        guard piece.isWritable else { throw .notPermitted }
        let field = try unsafe field(of: piece, at: offset, as: UInt32.self)
        unsafe field.pointee.store(value.littleEndian, ordering: .releasing)
        markDirty(piece)
    }

    /// The same with 64 bits.
    public func storeReleasing(_ value: UInt64, _ piece: MemoryPiece, at offset: Int) throws(Errno) {
        guard piece.isWritable else { throw .notPermitted }
        let field = try unsafe field(of: piece, at: offset, as: UInt64.self)
        unsafe field.pointee.store(value.littleEndian, ordering: .releasing)
        markDirty(piece)
    }

    private func field<Value: AtomicRepresentable & FixedWidthInteger>(
        of piece: MemoryPiece, at offset: Int, as type: Value.Type
    ) throws(Errno) -> UnsafeMutablePointer<Atomic<Value>> {
        let size = MemoryLayout<Value>.size
        guard offset >= 0, piece.count >= size, offset <= piece.count - size else { throw .invalidArgument }
        guard let base = try unsafe address(of: piece) else { throw .badAddress }
        let field = unsafe base + offset
        guard Int(bitPattern: field) % size == 0 else { throw .invalidArgument }
        return unsafe field.assumingMemoryBound(to: Atomic<Value>.self)
    }
}
