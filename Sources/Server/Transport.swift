public import SystemPackage

/// How a device server meets its client.
public enum Endpoint: Sendable {
    /// A UNIX socket is made at this path (at most 107 bytes, else `ENAMETOOLONG`; `EADDRINUSE` if it exists) and
    /// removed with the server.
    case path(String)
    /// A listening UNIX socket, which becomes the server's.
    case listening(FileDescriptor)
    /// A connected UNIX socket, which becomes the server's. When this client leaves there is no other.
    case connected(FileDescriptor)
    /// Standard input and output: no descriptors can be passed. For tests.
    case standardInputAndOutput
}

/// Whether a server's calls wait.
public enum WaitingMode: Sendable {
    /// ``DeviceServer/attach()`` waits for a client, ``DeviceServer/run()`` for requests.
    case blocking
    /// Nothing waits for the client, but for at most ``DeviceServer/stallLimit`` where the client keeps the
    /// server waiting in the middle of something.
    case polling
}
