import Glibc
import SystemPackage

/// A file on a ramfs, which knows no O_DIRECT, in a mount namespace of its own. Both are gone with the object.
final class RamFile {
    let path: String
    private var process: pid_t

    /// Whether this process may make one.
    static let isPossible = (try? RamFile(byteCount: 4096)) != nil

    init(byteCount: Int) throws {
        process = try spawn([
            "unshare", "--map-root-user", "--mount", "sh", "-c",
            "mount -t ramfs none /mnt && truncate -s \(byteCount) /mnt/disk && exec sleep 600",
        ])
        path = "/proc/\(process)/root/mnt/disk"
        for _ in 0..<250 {
            var status = stat()
            // The call fills the structure.
            if unsafe stat(path, &status) == 0, status.st_size == byteCount { return }
            if waitpid(process, nil, WNOHANG) != 0 {
                process = -1
                throw Errno.notPermitted
            }
            usleep(20_000)
        }
        throw Errno.timedOut
    }

    deinit {
        guard process > 0 else { return }
        kill(process, SIGKILL)
        _ = waitpid(process, nil, 0)
    }
}
