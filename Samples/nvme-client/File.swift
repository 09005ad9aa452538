internal import SystemPackage

/// A file of the command line, or a standard stream.
struct File {
    let path: String
    private let descriptor: FileDescriptor

    init(reading path: String) throws(FileError) {
        self.path = path
        descriptor =
            try path == "-"
            ? .standardInput : Self.wrap(path) { try FileDescriptor.open(FilePath(path), .readOnly) }
    }

    init(writing path: String) throws(FileError) {
        self.path = path
        descriptor =
            try path == "-"
            ? .standardOutput
            : Self.wrap(path) {
                try FileDescriptor.open(
                    FilePath(path), .writeOnly, options: [.create, .truncate],
                    permissions: .init(rawValue: 0o666))
            }
    }

    func write(_ bytes: [UInt8]) throws(FileError) {
        _ = try Self.wrap(path) { try descriptor.writeAll(bytes) }
    }

    /// Reads so many bytes, fewer only at the end.
    func read(upTo count: Int) throws(FileError) -> [UInt8] {
        try Self.wrap(path) {
            var bytes = [UInt8](repeating: 0, count: count)
            var done = 0
            while done < count {
                // As many bytes as the rest of the array has.
                let length = try unsafe bytes.withUnsafeMutableBytes {
                    try unsafe descriptor.read(into: UnsafeMutableRawBufferPointer(rebasing: $0[done...]))
                }
                if length == 0 { break }
                done += length
            }
            bytes.removeLast(count - done)
            return bytes
        }
    }

    private static func wrap<Result>(_ path: String, _ body: () throws -> Result) throws(FileError) -> Result
    {
        do { return try body() } catch {
            throw FileError(path: path, errno: error as? Errno ?? .ioError)
        }
    }
}
