import CLinux
import Foundation
import Synchronization
import SystemPackage
import VFIOUserClient
import VFIOUserServer

/// How client and server find each other.
enum Link: CaseIterable, Sendable {
    /// A socket at a path: clients come and go.
    case path
    /// Two connected sockets: there is one client.
    case socketPair
}

/// A device server on a thread of its own.
///
/// Only that thread touches the server once it runs; a device's own state is for the device to guard.
final class Host: @unchecked Sendable {
    private let server: DeviceServer
    private let path: String?
    private var clientEnd: CInt?
    /// What a polling server does when there is nothing to do.
    private let work: ((DeviceServer) -> Void)?
    private let isEnding = Atomic<Bool>(false)
    private let hasEnded = DispatchSemaphore(value: 0)
    /// Quiescing begins: called before the server is told that the device is quiesced.
    private let beforeQuiesced: () -> Errno?

    /// - Parameters:
    ///   - work: makes the server a polling one.
    ///   - configure: sets the server up; it is realized afterwards.
    init(
        _ device: any Device, _ link: Link = .path, work: ((DeviceServer) -> Void)? = nil,
        beforeQuiesced: @escaping () -> Errno? = { nil }, configure: (DeviceServer) throws -> Void
    ) throws {
        self.work = work
        self.beforeQuiesced = beforeQuiesced
        let endpoint: Endpoint
        switch link {
        case .path:
            let name = "/tmp/vfio-user-\(getpid())-\(UInt64.random(in: 0 ... .max))"
            path = name
            endpoint = .path(name)
        case .socketPair:
            let (ours, theirs) = try socketPair()
            path = nil
            clientEnd = ours
            endpoint = .connected(FileDescriptor(rawValue: theirs))
        }
        server = try DeviceServer(device, at: endpoint, waiting: work == nil ? .blocking : .polling)
        try configure(server)
        try server.realize()
        Thread.detachNewThread { [self] in
            serve()
            server.close()
            hasEnded.signal()
        }
    }

    private func serve() {
        while !isEnding.load(ordering: .acquiring) {
            do throws(Errno) {
                if !server.isAttached { try server.attach() }
                guard let work else { try server.run() }
                if try server.poll() == 0 { work(server) }
            } catch {
                switch error {
                case .resourceBusy:
                    // Requests that come behind it wait, as the device does.
                    usleep(2000)
                    try? server.quiesced(error: beforeQuiesced())
                case .wouldBlock: usleep(100)
                case .socketNotConnected where path == nil: return
                default: break
                }
            }
        }
    }

    /// Connects.
    func connect(_ options: ClientOptions = .patient) throws -> Client {
        if let path { return try Client(connectingTo: path, options: options) }
        guard let socket = clientEnd else { throw Errno.socketNotConnected }
        clientEnd = nil
        return try Client(adopting: FileDescriptor(rawValue: socket), options: options)
    }

    /// Ends the server, whose clients must have gone.
    func end() {
        isEnding.store(true, ordering: .releasing)
        if let path {
            // Ends a wait for clients.
            let socket = unsafe clx_unix_connect(path)
            if socket >= 0 { close(socket) }
        }
        if let clientEnd { close(clientEnd) }
        clientEnd = nil
        hasEnded.wait()
    }
}

/// Runs a test's part with a server, and ends that afterwards.
@discardableResult
func withHost<Result>(_ host: Host, _ body: (Host) throws -> Result) throws -> Result {
    defer { host.end() }
    return try body(host)
}

/// The same with one client.
@discardableResult
func withClient<Result>(
    of host: Host, _ options: ClientOptions = .patient, _ body: (Client) throws -> Result
) throws -> Result {
    try withHost(host) { host in
        let client = try host.connect(options)
        defer { client.close() }
        return try body(client)
    }
}

/// Two connected stream sockets.
func socketPair() throws -> (CInt, CInt) {
    var pair: [2 of CInt] = [-1, -1]
    var span = pair.mutableSpan
    // The call fills both elements.
    let result = unsafe span.withUnsafeMutableBufferPointer { unsafe clx_socket_pair($0.baseAddress) }
    guard result >= 0 else { throw Errno(rawValue: -result) }
    return (pair[0], pair[1])
}

extension ClientOptions {
    /// No test waits for ever.
    static var patient: ClientOptions {
        var options = ClientOptions()
        options.timeout = .seconds(30)
        return options
    }

    /// IOAS mode with these features.
    static func ioas(_ features: Client.IOASFeatures) -> ClientOptions {
        var options = patient
        options.ioas = features
        return options
    }

    /// With a second socket for the server's commands.
    static var twin: ClientOptions {
        var options = patient
        options.wantsTwinSocket = true
        return options
    }
}
