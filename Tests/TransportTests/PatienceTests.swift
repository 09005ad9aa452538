import CLinux
import Glibc
import SystemPackage
import Testing

@testable import VFIOUserTransport

/// How long a peer is waited for.
@Suite struct PatienceTests {
    private let near: CInt
    private let far: CInt

    init() throws {
        var pair: [CInt] = [-1, -1]
        // Two elements, as the call fills.
        let result = unsafe clx_socket_pair(&pair)
        guard result == 0 else { throw Errno(rawValue: -result) }
        (near, far) = (pair[0], pair[1])
    }

    @Test func ends() {
        let begin = Patience.milliseconds()
        let patience = Patience(50)
        #expect(patience.waitToWrite(near))
        #expect(!patience.waitToRead(near))
        #expect(Patience.milliseconds() - begin >= 50)
        // What is there was too late.
        #expect(!patience.waitToWrite(near))
        #expect(Patience(nil).waitToWrite(near))
        close()
    }

    /// A peer that goes is not waited for.
    @Test func peerGoes() {
        _ = shutdown(far, CInt(SHUT_RDWR))
        #expect(Patience(nil).waitToRead(near))
        close()
    }

    /// Time that one needs for oneself does not count.
    @Test func excuse() {
        var patience = Patience(500)
        let begin = Patience.milliseconds()
        usleep(600_000)
        #expect(!patience.waitToWrite(near))
        patience.excuse(since: begin)
        #expect(patience.waitToWrite(near))
        var endless = Patience(nil)
        endless.excuse(since: begin)
        #expect(endless.waitToWrite(near))
        close()
    }

    private func close() {
        _ = Glibc.close(near)
        _ = Glibc.close(far)
    }
}
