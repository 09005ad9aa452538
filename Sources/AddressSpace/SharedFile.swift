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
struct FileTable {
    private var files: [FileKey: SharedFile] = [:]

    var count: Int { files.count }

    /// The kept file for a mapping, one user more. Closes `descriptor` if another is kept already.
    mutating func acquire(_ descriptor: consuming OwnedFD, _ status: FileStatus, mode: AccessMode)
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

    /// Where a part of a file is to be mapped if another is already; looked for when the second part comes, for most
    /// files are mapped once.
    func room(_ status: FileStatus, block: UInt64) -> FileRoom? {
        guard let file = files[FileKey(identity: status.identity, flags: nil)] else { return nil }
        if file.room == nil, !file.hasNoRoom {
            file.room = FileRoom(status, block: block)
            file.hasNoRoom = file.room == nil
        }
        return file.room
    }

    /// One user less; without any the file is closed.
    mutating func release(_ file: SharedFile) {
        file.users -= 1
        if file.users == 0, let key = file.key { files[key] = nil }
    }

    private mutating func shared(_ descriptor: consuming OwnedFD, _ key: FileKey) -> SharedFile {
        if let file = files[key] { return file }
        let file = SharedFile(descriptor, key.identity, key: key)
        files[key] = file
        return file
    }

    private mutating func forInput(_ descriptor: consuming OwnedFD, _ status: FileStatus) -> SharedFile {
        // Of other kinds of file the identity does not stand for the contents: keep the client's own.
        guard status.hasContents, let flags = try? descriptor.descriptor.openFlags() else {
            return SharedFile(descriptor, status.identity, key: nil)
        }
        let first = FileKey(identity: status.identity, flags: nil)
        guard let file = files[first] else { return shared(descriptor, first) }
        if file.openFlags == flags { return file }
        return shared(descriptor, FileKey(identity: status.identity, flags: flags))
    }
}
