internal import SystemPackage
internal import VFIOUserSystem

/// The kept descriptor of a file, for every mapping of it.
package final class SharedFile {
    let descriptor: OwnedFD
    let identity: FileIdentity
    /// Where the file table finds it; nil if nothing may share it.
    let key: FileKey?
    /// Mappings that use it.
    var users = 0
    /// Where its parts are mapped.
    var room: FileRoom?
    /// The last mapping made in the room ends here, until it goes: the next can be had by making it larger.
    var edge: (end: UInt, rights: AccessRights)?
    /// None was found.
    var hasNoRoom = false
    /// How the descriptor may be used; asked for when first needed.
    lazy var openFlags: CInt? = try? descriptor.descriptor.openFlags()

    init(_ descriptor: consuming OwnedFD, _ identity: FileIdentity, key: FileKey?) {
        self.identity = identity
        self.descriptor = descriptor
        self.key = key
    }
}

extension SharedFile {
    /// Notes where a mapping ends that is made now, if it is in the room.
    func noteEnd(
        of base: UnsafeMutableRawPointer?, _ offset: UInt64, _ length: UInt64, _ rights: AccessRights
    ) {
        guard let room, let base = unsafe base, UInt(bitPattern: base) == room.place(offset, length) else {
            return
        }
        edge = (UInt(bitPattern: base) + UInt(length), rights)
    }

    /// Forgets that end when that mapping goes.
    func forgetEnd(of base: UnsafeMutableRawPointer?, _ length: UInt64) {
        guard let edge, let base = unsafe base, UInt(bitPattern: base) + UInt(length) == edge.end else {
            return
        }
        self.edge = nil
    }
}

/// What makes two descriptors interchangeable.
struct FileKey: Hashable {
    let identity: FileIdentity
    /// nil: the first descriptor of the file. Otherwise one kept for I/O because its flags differ.
    let flags: CInt?
}

/// The files that a connection's mappings use, each by one descriptor.
///
/// A mapping made by mmap needs a descriptor only as a sign of which file it is, so the first one will do for
/// all; a client can then map a file 65,535 times at the cost of one descriptor. File I/O goes through the
/// kept descriptor, so only one with the same flags will do.
final class FileTable {
    private var files = [FileKey: SharedFile](minimumCapacity: 8)
    /// The one found last. It is nearly always the next, too, and hashing takes a good part of the time of a mapping.
    private var latest: SharedFile?

    /// Hashes once, so that the code for that, and for room in a dictionary, is in memory before a client needs it.
    init() { files[FileKey(identity: FileIdentity(device: 0, inode: 0), flags: nil)] = nil }

    private func file(_ key: FileKey) -> SharedFile? {
        if let latest, latest.key == key { return latest }
        guard let file = files[key] else { return nil }
        latest = file
        return file
    }

    var count: Int { files.count }

    /// The kept file for a mapping, one user more. Closes `descriptor` if another is kept already.
    func acquire(_ descriptor: consuming OwnedFD, _ status: FileStatus, mode: AccessMode)
        -> SharedFile
    {
        let file: SharedFile
        if mode == .fileIO {
            file = forInput(descriptor, status)
        } else {
            file = shared(descriptor, FileKey(identity: status.identity, flags: nil))
        }
        file.users += 1
        return file
    }

    /// Maps a part of a file, of whole blocks, with the client's own descriptor: where it belongs in the file's room if
    /// another part is mapped already. Room is looked for when the second part comes, for most files are mapped once.
    ///
    /// Throws mmap's errno.
    func map(
        _ descriptor: borrowing OwnedFD, _ status: FileStatus, block: UInt64, offset: UInt64, length: UInt64,
        _ rights: AccessRights
    ) throws(Errno) -> MemoryMapping {
        let protection = CInt(rights.rawValue)
        var place: UInt = 0
        if let file = file(FileKey(identity: status.identity, flags: nil)) {
            if file.room == nil, !file.hasNoRoom {
                file.room = FileRoom(status, block: block)
                file.hasNoRoom = file.room == nil
            }
            place = file.room?.place(offset, length) ?? 0
            if let edge = file.edge, edge.end == place, edge.rights == rights,
                descriptor.descriptor.allowsMapping(protection),
                // What ends there is a mapping of the bytes before these, which is in the table.
                let memory = try? unsafe MemoryMapping(after: place, length: length)
            {
                return memory
            }
        }
        return try MemoryMapping(
            sharing: descriptor.descriptor, offset: offset, length: length, protection: protection, at: place)
    }

    /// One user less; without any the file is closed.
    func release(_ file: SharedFile) {
        file.users -= 1
        guard file.users == 0, let key = file.key else { return }
        files[key] = nil
        if latest === file { latest = nil }
    }

    private func shared(_ descriptor: consuming OwnedFD, _ key: FileKey) -> SharedFile {
        if let file = file(key) { return file }
        let file = SharedFile(descriptor, key.identity, key: key)
        files[key] = file
        return file
    }

    private func forInput(_ descriptor: consuming OwnedFD, _ status: FileStatus) -> SharedFile {
        // Of other kinds of file the identity does not stand for the contents: keep the client's own.
        guard status.hasContents, let flags = try? descriptor.descriptor.openFlags() else {
            return SharedFile(descriptor, status.identity, key: nil)
        }
        let first = FileKey(identity: status.identity, flags: nil)
        guard let file = file(first) else { return shared(descriptor, first) }
        if file.openFlags == flags { return file }
        return shared(descriptor, FileKey(identity: status.identity, flags: flags))
    }
}
