import Glibc
import SystemPackage
import Testing
import VFIOUserWire

@testable import VFIOUserServer

/// The transport by standard input and output, in a process of its own.
@Suite struct PipeTests {
    /// What goes to the server, and what comes from it.
    struct Pipes {
        let toServer: File
        let fromServer: File
        private let standard = [dup(STDIN_FILENO), dup(STDOUT_FILENO)]

        /// Gives the process its own input and output back.
        func restore() {
            _ = dup2(standard[0], STDIN_FILENO)
            _ = dup2(standard[1], STDOUT_FILENO)
        }

        /// Takes the place of this process's standard input and output.
        init() throws {
            let (input, toServer) = try File.pipe()
            let (fromServer, output) = try File.pipe()
            _ = dup2(input.number, STDIN_FILENO)
            _ = dup2(output.number, STDOUT_FILENO)
            self.toServer = toServer
            self.fromServer = fromServer
        }

        func send(_ bytes: [UInt8]) {
            // As many bytes as there are.
            _ = unsafe write(toServer.number, bytes, bytes.count)
        }

        func receive(_ count: Int) -> [UInt8] {
            var buffer = [UInt8](repeating: 0, count: count)
            var done = 0
            while done < count {
                // Room for the rest of the bytes.
                let got = unsafe buffer.withUnsafeMutableBytes { buffer in
                    unsafe read(fromServer.number, buffer.baseAddress.map { unsafe $0 + done }, count - done)
                }
                guard got > 0 else { return [] }
                done += got
            }
            return buffer
        }
    }

    @Test func session() async {
        await #expect(processExitsWith: .success) {
            let pipes = try Pipes()
            defer { pipes.restore() }
            let device = TestDevice()
            let server = try device.server(at: .standardInputAndOutput, waiting: .polling)
            try server.realize()
            #expect(server.pollDescriptor == nil)
            // No second socket on a pipe.
            pipes.send(message(.version, versionPayload(twinCapabilities), id: 1))
            try server.attach()
            #expect(server.pollDescriptor == .standardInput)
            let text = #"{ "capabilities": { "max_msg_fds": 8, "max_data_xfer_size": 1048576 } }"# + "\0"
            let payload = bytes(UInt16(0), UInt16(2)) + Array(text.utf8)
            let version = pipes.receive(16 + payload.count)
            #expect(version == message(.version, payload, id: 1, flags: .isReply))

            let write = bytes(UInt64(8), UInt32(0), UInt32(3))
            pipes.send(message(.regionWrite, write + [1, 2, 3], id: 2))
            pipes.send(message(.regionRead, write, id: 3))
            #expect(try server.poll() == 2)
            let replies = pipes.receive(32 + 35)
            let expected =
                message(.regionWrite, write, id: 2, flags: .isReply)
                + message(.regionRead, write + [1, 2, 3], id: 3, flags: .isReply)
            #expect(replies == expected)

            // Memory without descriptors goes by messages, over the same pipes.
            pipes.send(
                message(.dmaMap, encoded(DMAMap(flags: [.read], offset: 0, address: 0, size: 0x1000)), id: 4))
            #expect(try server.poll() == 1)
            _ = pipes.receive(16)
            pipes.send(dmaReadReply(id: 1, 0x10, [9, 8]))
            #expect(try server.readClient(0x10, 2) == [9, 8])
            let question = pipes.receive(32)
            #expect(question == message(.dmaRead, bytes(UInt64(0x10), UInt64(2)), id: 1))

            // The end, and another beginning.
            device.events = []
            let nothing = try File.memory(0)
            _ = dup2(nothing.number, STDIN_FILENO)
            #expect(throws: Errno.socketNotConnected) { try server.poll() }
            #expect(device.events == [.quiesce, .removed(0, 0x1000), .reset(.lostConnection)])
            #expect(throws: Errno.socketNotConnected) { try server.poll() }
            #expect(throws: Errno.noMessage) { try server.attach() }
        }
    }
}
