internal import CLinux
internal import Glibc
internal import SystemPackage
internal import VFIOUserSystem
internal import VFIOUserTransport
internal import VFIOUserWire

/// A client and what was negotiated with it.
final class Connection {
    /// `nil` for standard input and output, which are not the connection's to close.
    let socket: OwnedFD?
    /// Where answers to the server's own commands come from, if the client asked for a second socket.
    let twin: TwinSocket?
    /// The most data of one DMA_READ or DMA_WRITE, and of migration data, bytes (1 byte...1 MiB).
    let maxTransfer: Int
    /// Whether REGION_WRITE_MULTI was agreed.
    let writesMultiple: Bool
    /// What was granted of IOAS mode; `nil` in legacy mode.
    let ioas: IOASFeatures?
    /// Whether BIND was carried out.
    var isBound = false
    /// Whether waiting for its answers ends by itself.
    var boundsWaiting = false
    /// Whether the client has closed its end, so that no command reaches it.
    var isOver = false
    /// Whether a warning about commands crossing on one socket was given.
    var warnedOfCrossing = false

    init(
        socket: consuming OwnedFD?, twin: TwinSocket?, maxTransfer: Int, writesMultiple: Bool,
        ioas: IOASFeatures?
    ) {
        self.socket = socket
        self.twin = twin
        self.maxTransfer = maxTransfer
        self.writesMultiple = writesMultiple
        self.ioas = ioas
    }

    /// Makes sure that nothing more comes or goes, also where the client has only stopped answering.
    func hangUp() {
        switch socket {
        case .some(let socket): _ = shutdown(socket.number, CInt(SHUT_RDWR))
        case .none: break
        }
        if let number = twin?.socket.number { _ = shutdown(number, CInt(SHUT_RDWR)) }
    }
}

/// The second socket of a connection, with its own stream of replies.
final class TwinSocket {
    let socket: OwnedFD
    let inbound: InboundMessages

    init(_ socket: consuming OwnedFD) throws(Errno) {
        inbound = try InboundMessages()
        self.socket = socket
    }
}
