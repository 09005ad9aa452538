public import SystemPackage
package import VFIOUserAddressSpace

/// What a device may do with client memory.
@frozen
public enum MemoryUse: UInt8, Sendable {
    /// Read it.
    case read = 1
    /// Write it.
    case write = 2
    /// Both.
    case readWrite = 3

    var rights: AccessRights { AccessRights(rawValue: rawValue) }
}

/// A piece of client memory that lies in one mapping: what translating an address gives.
///
/// A piece may be kept. When its mapping goes it becomes void: every use of it then throws `EINVAL`.
public struct MemoryPiece: Sendable {
    package let entry: SGEntry

    package init(_ entry: SGEntry) { self.entry = entry }

    /// The IOVA of its first byte.
    public var address: UInt64 { entry.address }
    /// Bytes, at least 1.
    public var count: Int { Int(clamping: entry.length) }
    /// Whether it was translated for writing.
    public var isWritable: Bool { entry.isWriteable }
}

/// The client memory that a device sees (``DeviceServer/clientMemory``).
///
/// A view is a pointer: copies are free, and no call of its own allocates, takes a lock or counts a reference. It
/// is good as long as the server is, and until ``DeviceServer/enableDMA(maxRegions:)`` is called again. Any number of
/// threads may use it, but none while the device is quiesced (``Device/quiesce(on:)``): then mappings change.
///
/// Client memory may change at any time: copy, then judge the copy.
public struct ClientMemory: Sendable {
    private let translator: Translator

    init(_ translator: Translator) { self.translator = translator }

    /// The first piece of a range: all of it, or as much as lies in one mapping.
    ///
    /// - Parameters:
    ///   - address: an IOVA.
    ///   - count: bytes, at least 1.
    /// - Throws: `ENOENT` a byte of the range is in no mapping, or the range wraps round; `EACCES` the piece's mapping
    ///   does not allow this use; `EINVAL` `count` is 0 or negative.
    public func piece(at address: UInt64, count: Int, for use: MemoryUse) throws(Errno) -> MemoryPiece {
        guard count > 0 else { throw .invalidArgument }
        var entry = SGEntry()
        // Room for the one entry that is asked for.
        _ = try unsafe translator.translate(address, UInt64(count), use.rights, into: &entry, capacity: 1)
        return MemoryPiece(entry)
    }

    /// Appends the pieces of a range, in ascending order.
    ///
    /// - Throws: as ``piece(at:count:for:)``, of any of them; `ENOBUFS` there are more than there is room for in
    ///   `pieces`. Pieces before that one have been appended then.
    public func translate(
        _ address: UInt64, count: Int, for use: MemoryUse, into pieces: inout OutputSpan<MemoryPiece>
    ) throws(Errno) {
        var address = address
        var left = count
        while left > 0 {
            let piece = try piece(at: address, count: left, for: use)
            guard pieces.freeCapacity > 0 else { throw .noBufferSpace }
            pieces.append(piece)
            address &+= UInt64(piece.count)
            left -= piece.count
        }
    }

    /// All of the mapping that a piece lies in, for the same use: what lies together with it, for those who keep that.
    ///
    /// - Throws: `EINVAL` the piece is void.
    public func mapping(of piece: MemoryPiece) throws(Errno) -> MemoryPiece {
        MemoryPiece(try translator.whole(of: piece.entry))
    }

    /// The address in this process of a piece's first byte, of ``MemoryPiece/count``; `nil` if the piece must be copied
    /// (``DeviceServer/readMemory(at:into:)``): it is reached by messages or by file, or its file may become
    /// shorter, or its exporter wants to know of every use.
    ///
    /// Good until the mapping goes (``Device/dmaRegionRemoved(_:on:)``). Whoever writes there calls
    /// ``markDirty(_:)`` afterwards.
    ///
    /// - Throws: `EINVAL` the piece is void.
    @unsafe
    public func address(of piece: MemoryPiece) throws(Errno) -> UnsafeMutableRawPointer? {
        try unsafe translator.plainAddress(of: piece.entry)
    }

    /// Notes that a piece translated for writing was written, for clients that track it (live migration).
    @inline(__always)
    public func markDirty(_ piece: MemoryPiece) { translator.markDirty(piece.entry) }

    /// Whether a client tracks what is written: without, ``markDirty(_:)`` does nothing.
    public var isTracked: Bool { translator.isLogging }
}

extension DeviceServer {
    /// The client memory that the device sees, for translation and direct access.
    public var clientMemory: ClientMemory { ClientMemory(translator) }
}
