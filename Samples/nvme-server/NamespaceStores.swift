internal import Logging
internal import NVMeController
internal import NVMeStores
internal import SystemPackage

extension NamespaceSource {
    /// Opens the store of a namespace.
    func open(blockSize: Int, isReadOnly: Bool, _ logger: Logger) throws(Trouble) -> any BackingStore {
        let store: any BackingStore
        switch self {
        case .memory(let count): store = try Self.memory(count, isReadOnly: isReadOnly)
        case .file(let path): store = try Self.file(path, isReadOnly: isReadOnly, logger)
        case .nbd(let uri): store = try Self.server(uri, isReadOnly: isReadOnly, logger)
        }
        guard store.minimumBlockSize <= blockSize else {
            throw Trouble(
                store.minimumBlockSize <= 4096
                    ? "\(self): has blocks of \(store.minimumBlockSize) bytes: use --block-size 4096"
                    : "\(self): has blocks of \(store.minimumBlockSize) bytes, and 4096 is the most there can be"
            )
        }
        guard store.byteCount % UInt64(blockSize) == 0 else {
            throw Trouble(
                "\(self): \(store.byteCount) bytes are not a multiple of the block size, \(blockSize)"
                    + (store is FileStore ? "; make it one with: truncate -s %\(blockSize) \(self)" : ""))
        }
        return store
    }

    private static func memory(_ count: UInt64, isReadOnly: Bool) throws(Trouble) -> any BackingStore {
        do {
            return try MemoryStore(byteCount: count, isReadOnly: isReadOnly)
        } catch {
            throw Trouble("--memory: there is no room for \(count) bytes: choose a smaller size")
        }
    }

    private static func file(
        _ path: String, isReadOnly: Bool, _ logger: Logger
    ) throws(Trouble) -> any BackingStore {
        do throws(Errno) {
            let store = try FileStore(path: path, isReadOnly: isReadOnly)
            if let error = store.ringFailure {
                logger.warning(
                    "\(path): no io_uring (\(error)): requests are carried out one after the other")
            }
            return store
        } catch {
            let reason =
                switch error {
                case .noSuchFileOrDirectory: "there is no such file; make one with: truncate -s 1G \(path)"
                case .invalidArgument: "the file is empty; give it a size with: truncate -s 1G \(path)"
                case .isDirectory: "is a directory, not a file or a block device"
                case .operationNotSupportedByDevice: "is neither a file nor a block device"
                case .wouldBlock:
                    isReadOnly
                        ? "another process writes to it: end that one"
                        : "another process uses it: end that one, or use --read-only in both"
                case .resourceBusy: "the device is in use, perhaps mounted: unmount it, or use --read-only"
                case .permissionDenied:
                    "no permission\(isReadOnly ? "" : " to write; perhaps with --read-only")"
                case .readOnlyFileSystem: "is on a read-only file system: use --read-only"
                default: "cannot be opened: \(error)"
                }
            throw Trouble("\(path): \(reason)")
        }
    }

    private static func server(
        _ uri: String, isReadOnly: Bool, _ logger: Logger
    ) throws(Trouble) -> any BackingStore {
        do throws(NBDFailure) {
            let store = try NBDStore(uri: uri, isReadOnly: isReadOnly)
            store.report = { logger.warning("\(uri): \($0)") }
            return store
        } catch {
            throw Trouble("\(uri): there is no connection to the NBD server: \(error)")
        }
    }
}

extension NamespaceSource: CustomStringConvertible {
    var description: String {
        switch self {
        case .memory(let count): "--memory \(count)"
        case .file(let path): path
        case .nbd(let uri): uri
        }
    }
}
