import CLinux
import Glibc
import SystemPackage
import Testing
import VFIOUserWire

@testable import VFIOUserServer

/// VERSION in pieces, late, or never.
@Suite struct NegotiationTimingTests {
    static let version = message(.version, versionPayload(twinCapabilities), id: 7)

    @Test func splitAtEveryByte() throws {
        let path = temporaryPath()
        let device = TestDevice()
        let server = try device.server(at: .path(path))
        try server.realize()
        for place in 1..<Self.version.count {
            let peer = try RawPeer(connectingTo: path)
            try peer.send(Array(Self.version[..<place]))
            #expect(throws: Errno.wouldBlock) { try server.attach(grace: 0) }
            #expect(throws: Errno.wouldBlock) { try server.attach(grace: 0) }
            #expect(!server.isAttached)
            try peer.send(Array(Self.version[place...]))
            try server.attach(grace: 0)
            let reply = try peer.receive()
            #expect(reply.error == nil && reply.files.count == 1, "split at \(place)")
            peer.close()
            #expect(throws: Errno.socketNotConnected) { try server.poll() }
        }
    }

    @Test func byteByByte() throws {
        let path = temporaryPath()
        let server = try TestDevice().server(at: .path(path))
        let peer = try RawPeer(connectingTo: path)
        for byte in Self.version.dropLast() {
            try peer.send([byte])
            #expect(throws: Errno.wouldBlock) { try server.attach(grace: 0) }
        }
        try peer.send([Self.version[Self.version.count - 1]])
        try server.attach()
        #expect(try peer.receive().header.id == 7)
    }

    /// A polling server waits a moment, then goes on to the descriptor of that client.
    @Test func neverComes() throws {
        let path = temporaryPath()
        let server = try TestDevice().server(at: .path(path))
        let listener = server.pollDescriptor
        let peer = try RawPeer(connectingTo: path)
        let begin = milliseconds()
        #expect(throws: Errno.wouldBlock) { try server.attach() }
        let waited = milliseconds() - begin
        #expect(waited >= DeviceServer.versionGrace)
        #expect(server.pollDescriptor != nil && server.pollDescriptor != listener)
        // From then on nothing waits.
        for _ in 0..<100 { #expect(throws: Errno.wouldBlock) { try server.attach() } }
        #expect(milliseconds() - begin - waited < 50 * DeviceServer.versionGrace)
        peer.close()
        #expect(throws: Errno.noMessage) { try server.attach() }
        #expect(server.pollDescriptor == listener)
        let next = try RawPeer(connectingTo: path)
        try next.send(Self.version)
        try server.attach()
    }

    /// A client cannot hold a polling server up by sending little by little.
    @Test func drips() throws {
        let (peer, theirs) = try RawPeer.pair()
        let server = try TestDevice().server(at: .connected(theirs))
        let drip = Background {
            for byte in message(1, size: 60_000) + [UInt8](repeating: 32, count: 600) {
                guard (try? peer.send([byte])) != nil else { return }
                pause(15)
            }
        }
        let begin = milliseconds()
        #expect(throws: Errno.wouldBlock) { try server.attach() }
        #expect(milliseconds() - begin < 6000)
        server.close()
        drip.join()
    }

    /// What a client sends right behind VERSION makes the socket readable.
    @Test(arguments: [WaitingMode.polling, .blocking])
    func requestsBehind(mode: WaitingMode) throws {
        let (peer, theirs) = try RawPeer.pair()
        let device = TestDevice()
        let server = try device.server(
            at: .connected(theirs), waiting: mode)
        try server.realize()
        try peer.send(Self.version + message(.deviceReset) + message(.deviceReset))
        try server.attach()
        #expect(try peer.receive().header.id == 7)
        let descriptor = try #require(server.pollDescriptor)
        var waiting = pollfd(fd: descriptor.rawValue, events: Int16(POLLIN), revents: 0)
        #expect(unsafe Glibc.poll(&waiting, 1, 0) == 1)
        #expect(try server.poll() == 2)
        #expect(try peer.receive().header.command == Command.deviceReset.rawValue)
    }

    @Test func leavesBeforeTheReply() throws {
        let meeting = try NegotiationTests.Meeting()
        try meeting.peer.send(Self.version)
        meeting.peer.close()
        #expect(throws: Errno.connectionReset) { try meeting.server.attach() }
        #expect(!meeting.server.isAttached)
    }

    /// A signal ends serve() but costs nobody the connection: the next call goes on.
    @Test func interruptedService() async {
        await #expect(processExitsWith: .success) {
            let path = temporaryPath()
            let server = try TestDevice().server(at: .path(path), waiting: .blocking)
            let listening = server.listener.pollNumber
            var action = sigaction()
            unsafe action.__sigaction_handler.sa_handler = { _ in }
            // A whole structure, without SA_RESTART.
            _ = unsafe sigaction(SIGUSR1, &action, nil)
            var interruptions = 0
            let service = Background {
                // Threads made here may not get signals otherwise.
                var all = sigset_t()
                _ = unsafe sigfillset(&all)
                _ = unsafe pthread_sigmask(SIG_UNBLOCK, &all, nil)
                while true {
                    do throws(Errno) {
                        try server.serve()
                    } catch .interrupted {
                        interruptions += 1
                    } catch { return }
                }
            }
            let peer = try RawPeer(connectingTo: path)
            try peer.request(.version, versionPayload(nil))
            _ = try peer.receive()
            for _ in 0..<3 {
                pause(20)
                service.signal(SIGUSR1)
                pause(20)
                try peer.request(.deviceGetInfo, encoded(DeviceInfo()))
                #expect(try peer.receive().error == nil, "after a signal")
            }
            peer.close()
            _ = shutdown(listening, CInt(SHUT_RDWR))
            service.join()
            #expect(interruptions > 0, "\(interruptions) interruptions")
        }
    }

    /// A blocking server takes its time, and serves one client after the other.
    @Test func blocking() throws {
        let path = temporaryPath()
        let device = TestDevice()
        let server = try device.server(at: .path(path), waiting: .blocking)
        let listening = server.listener.pollNumber
        let service = Background { try? server.serve() }
        for round in 0..<3 {
            // Refused, gone at once, or gone before the reply: no reason to stop.
            let refused = try RawPeer(connectingTo: path)
            try refused.request(.version, versionPayload(nil, major: 2))
            #expect(try refused.receive().error == .invalidArgument)
            try RawPeer(connectingTo: path).send(Self.version)

            let peer = try RawPeer(connectingTo: path)
            for byte in Self.version {
                try peer.send([byte])
                if byte == 0 { pause(1) }
            }
            #expect(try peer.receive().header.id == 7)
            try peer.request(.deviceReset)
            pause(5)
            #expect(try peer.receive().error == nil, "round \(round)")
        }
        // Ends the service: there is nobody left to accept.
        _ = shutdown(listening, CInt(SHUT_RDWR))
        service.join()
        #expect(device.events.contains(.reset(.device)))
    }
}
