import Foundation
import SystemPackage
import VFIOUserClient

/// A server that does what a test's script says, on a thread of its own.
final class FakeServer {
    /// A message as the server sees it.
    struct Message {
        var id: UInt16
        var command: UInt16
        var flags: UInt32
        var error: UInt32
        var payload: [UInt8]
        var files: [CInt]
    }

    /// The script expected something else.
    struct Mismatch: Error, CustomStringConvertible { let description: String }

    let socket: PeerSocket
    /// How replies are cut: bytes of the pieces they are sent in, with a pause for the client to take each;
    /// nil: whole.
    var pieceSize: Int?
    /// Microseconds between the pieces.
    var pause: UInt32 = 50
    private var pending: [UInt8] = []
    private var pendingFiles: [CInt] = []

    init(_ socket: PeerSocket) { self.socket = socket }

    deinit { for file in pendingFiles { _ = Glibc.close(file) } }

    // MARK: Messages

    /// The next message.
    ///
    /// - Throws: `ENOTCONN` at the end.
    func receive() throws -> Message {
        while pending.count < 16 || pending.count < Int(pending.integer(at: 4, as: UInt32.self)) {
            let missing = pending.count < 16 ? 16 : Int(pending.integer(at: 4, as: UInt32.self))
            let (bytes, files) = try socket.receive(limit: missing - pending.count)
            guard !bytes.isEmpty else { throw Errno.socketNotConnected }
            pending += bytes
            pendingFiles += files
        }
        let size = Int(pending.integer(at: 4, as: UInt32.self))
        let message = Message(
            id: pending.integer(at: 0), command: pending.integer(at: 2), flags: pending.integer(at: 8),
            error: pending.integer(at: 12), payload: Array(pending[16..<size]), files: pendingFiles)
        pending.removeFirst(size)
        pendingFiles = []
        return message
    }

    /// The next message, which must be this command.
    func expect(_ command: UInt16, flags: UInt32 = 0) throws -> Message {
        let message = try receive()
        guard message.command == command, message.flags == flags else {
            throw Mismatch(description: "expected command \(command) flags \(flags), received \(message)")
        }
        return message
    }

    /// Sends a message as it is.
    func send(
        id: UInt16, command: UInt16, flags: UInt32, error: UInt32 = 0, _ payload: [UInt8] = [],
        files: [CInt] = []
    ) throws {
        try send(bytes(id, command, UInt32(16 + payload.count), flags, error) + payload, files: files)
    }

    /// Sends bytes, in pieces if so set.
    func send(_ message: [UInt8], files: [CInt] = []) throws {
        guard let pieceSize else { return try socket.send(message, files: files) }
        var files = files
        for start in stride(from: 0, to: message.count, by: pieceSize) {
            try socket.send(Array(message[start..<min(message.count, start + pieceSize)]), files: files)
            files = []
            usleep(pause)
        }
    }

    /// Answers a command.
    func reply(to command: Message, _ payload: [UInt8] = [], files: [CInt] = []) throws {
        try send(id: command.id, command: command.command, flags: 1, payload, files: files)
    }

    /// Answers a command by an error.
    func reply(to command: Message, error: Errno, _ payload: [UInt8] = []) throws {
        try send(
            id: command.id, command: command.command, flags: 0x21, error: UInt32(error.rawValue), payload)
    }

    /// Answers the VERSION that must come first.
    func negotiate(_ text: String? = nil, files: [CInt] = []) throws {
        let request = try expect(Wire.version)
        try reply(
            to: request, bytes(UInt16(0), UInt16(2)) + (text.map { Array($0.utf8) + [0] } ?? []), files: files
        )
    }

    /// Returns when the client has closed.
    func waitForEnd() {
        // What it still sends does not matter, and is not read: its socket may be full.
        while true {
            var entry = pollfd(fd: socket.number, events: 0x2000, revents: 0)
            // One entry; 0x2000 is POLLRDHUP.
            guard unsafe poll(&entry, 1, 10_000) > 0, entry.revents == 0 else { return }
        }
    }

    // MARK: Running

    /// What a script threw.
    private final class Outcome: @unchecked Sendable {
        // Written by the thread before the semaphore is signalled, read after.
        var error: (any Error)?
        let done = DispatchSemaphore(value: 0)
    }

    /// Runs a script on a thread, and a test's part with the other end of the socket; both must succeed.
    ///
    /// The script may end early; then its end is closed.
    @discardableResult
    static func run<Result>(
        _ script: @escaping @Sendable (FakeServer) throws -> Void,
        client body: (FileDescriptor) throws -> Result
    ) throws -> Result {
        let (mine, theirs) = try PeerSocket.pair()
        let outcome = Outcome()
        Thread.detachNewThread {
            do { try script(FakeServer(mine)) } catch { outcome.error = error }
            mine.close()
            outcome.done.signal()
        }
        defer { outcome.done.wait() }
        let result: Result
        do {
            result = try body(FileDescriptor(rawValue: theirs.number))
        } catch {
            // A script that failed first is the better explanation.
            if outcome.done.wait(timeout: .now() + 1) == .success {
                outcome.done.signal()
                if let mismatch = outcome.error as? Mismatch { throw mismatch }
            }
            throw error
        }
        outcome.done.wait()
        outcome.done.signal()
        if let error = outcome.error, error as? Errno != .socketNotConnected { throw error }
        return result
    }

    /// The same with a client that has negotiated; the script starts behind VERSION.
    @discardableResult
    static func run<Result>(
        options: ClientOptions = testOptions, text: String? = nil,
        _ script: @escaping @Sendable (FakeServer) throws -> Void, client body: (Client) throws -> Result
    ) throws -> Result {
        try run { server in
            try server.negotiate(text)
            try script(server)
        } client: { socket in
            try body(Client(adopting: socket, options: options))
        }
    }
}

/// Patient enough for a busy machine, but no test waits for ever.
var testOptions: ClientOptions {
    var options = ClientOptions()
    options.timeout = .seconds(20)
    return options
}
