internal import CLibnbd
internal import Glibc
internal import NVMeController
internal import SystemPackage

/// How far a request to an NBD server is, which may be several of the protocol's: its parts.
///
/// Unsafe inside: the queue and the memory outlive the request.
@safe
struct NBDProgress: BitwiseCopyable {
    /// Where the request goes when its parts are over.
    private let ended: UnsafeMutablePointer<RequestQueue<NBDProgress>>
    private var open = 0
    private var begun = 0
    private var answered = 0
    private var failure: CInt = 0
    /// Memory between server and client, where pieces of the client's are none that the server takes.
    var bounce: UnsafeMutableRawPointer?
    /// A flush is what makes a write durable.
    var isFlushing = false
    /// Of a range without data: what parts have been begun for; bytes.
    var cleared: UInt64 = 0
    /// Of a flush: how many requests had changed something before.
    var changes: UInt64 = 0

    init(_ ended: UnsafeMutablePointer<RequestQueue<NBDProgress>>) {
        unsafe self.ended = unsafe ended
        unsafe bounce = nil
    }

    /// Why the request failed, when all its parts are over.
    var error: Errno? {
        if failure != 0 { return Errno(rawValue: failure) }
        // The connection ended, and nobody will answer.
        return answered < begun ? .socketNotConnected : nil
    }

    typealias Pointer = UnsafeMutablePointer<PendingRequest<NBDProgress>>

    /// Before the parts of a round.
    static func open(_ pending: Pointer) { unsafe pending.pointee.progress.open += 1 }

    /// Begins a part of a request: `body` gets what is to be called back, and says whether the part was accepted;
    /// `nil`: there is no connection, and nobody will call back.
    static func begin(_ pending: Pointer, _ body: (nbd_completion_callback) -> Bool?) {
        unsafe pending.pointee.progress.open += 1
        unsafe pending.pointee.progress.begun += 1
        let isBegun = unsafe body(
            nbd_completion_callback(
                callback: NBDProgress.answer, user_data: pending, free: NBDProgress.forget))
        switch isBegun {
        case true?: break
        case nil:
            unsafe pending.pointee.progress.fail(ENOTCONN)
            unsafe close(pending)
        case false?:
            let error = nbd_get_errno()
            unsafe pending.pointee.progress.fail(error == 0 ? EIO : error)
        }
    }

    /// All parts of a round have been begun, or one of them is over.
    static func close(_ pending: Pointer) {
        unsafe pending.pointee.progress.open -= 1
        if unsafe pending.pointee.progress.open == 0 {
            unsafe pending.pointee.progress.ended.pointee.append(pending)
        }
    }

    private mutating func fail(_ error: CInt) {
        if failure == 0 { failure = error }
    }

    /// The server has answered a part. The library is to forget it (1).
    private static let answer:
        @convention(c) (UnsafeMutableRawPointer?, UnsafeMutablePointer<CInt>?) -> CInt = {
            data, error in
            guard let data = unsafe data else { return 1 }
            // What the part was begun with.
            let pending = unsafe data.assumingMemoryBound(to: PendingRequest<NBDProgress>.self)
            unsafe pending.pointee.progress.answered += 1
            if let error = unsafe error?.pointee, error != 0 { unsafe pending.pointee.progress.fail(error) }
            return 1
        }

    /// The library does not use a part's memory any more, answered or not: once for each part.
    private static let forget: @convention(c) (UnsafeMutableRawPointer?) -> Void = { data in
        guard let data = unsafe data else { return }
        unsafe close(data.assumingMemoryBound(to: PendingRequest<NBDProgress>.self))
    }
}
