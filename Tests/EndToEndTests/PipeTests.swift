import Foundation
import SystemPackage
import Testing
import VFIOUserClient
import VFIOUserServer

/// A server on standard input and output: there are no descriptors to be had, all else works.
struct PipeTests {
    /// Copies one file to another on a thread of its own, to the end of the first.
    private static func relay(_ source: CInt, _ target: CInt) {
        Thread.detachNewThread {
            var buffer = [UInt8](repeating: 0, count: 1 << 16)
            while true {
                // As many bytes as there is room for, and as many as came.
                let count = unsafe read(source, &buffer, buffer.count)
                guard count > 0 else { break }
                var done = 0
                while done < count {
                    let written = unsafe buffer.withUnsafeBytes {
                        unsafe write(target, $0.baseAddress.map { unsafe $0 + done }, count - done)
                    }
                    guard written > 0 else { return }
                    done += written
                }
            }
            close(target)
        }
    }

    private static func pipe() throws -> (reading: CInt, writing: CInt) {
        var pair: [2 of CInt] = [-1, -1]
        var span = pair.mutableSpan
        // The call fills both elements.
        let result = unsafe span.withUnsafeMutableBufferPointer { unsafe Foundation.pipe($0.baseAddress) }
        guard result == 0 else { throw Errno(rawValue: errno) }
        return (pair[0], pair[1])
    }

    /// In a process of its own, whose standard input and output become pipes.
    @Test func wholeSession() async {
        await #expect(processExitsWith: .success) {
            // Ends come in any order here.
            _ = signal(SIGPIPE, SIG_IGN)

            let (ours, theirs) = try socketPair()
            let (input, output) = (try Self.pipe(), try Self.pipe())
            dup2(input.reading, STDIN_FILENO)
            dup2(output.writing, STDOUT_FILENO)
            close(output.writing)
            Self.relay(theirs, input.writing)
            Self.relay(output.reading, theirs)

            let hasEnded = DispatchSemaphore(value: 0)
            Thread.detachNewThread {
                do throws(any Error) {
                    let device = try EngineDevice()
                    let server = try DeviceServer(device, at: .standardInputAndOutput)
                    try device.configure(server)
                    try server.serve()
                } catch Errno.socketNotConnected {
                    hasEnded.signal()
                } catch {}
            }

            let client = try Client(adopting: FileDescriptor(rawValue: ours), options: .ioas(.all))
            try Self.check(client.server.ioas == .all)
            let bytes = [UInt8].pattern(1 << 20)
            try client.write(bytes, to: .bar1, at: 0)
            try Self.check(client.read(.bar1, at: 0, count: 1 << 20) == bytes)
            try Self.check(client.read(.config, at: 0) as UInt32 == 0x1110_1af4)
            let space = try client.allocateIOAS()
            try client.attach(space)
            // Client memory by messages.
            let memory = try DMAMemory(count: 1 << 20)
            let iova = try client.map(memory, into: space, sharing: .messages)
            try Self.check(client.deviceWrite(bytes, iova) == nil)
            try Self.check(memory.read(at: 0, count: 1 << 20) == bytes)
            try Self.check(client.deviceView(iova + 5, 1000) == Array(bytes[5..<1005]))
            try Self.check(client.unmap(iova, size: 1 << 20, from: space) == 1 << 20)
            try client.reset()
            client.close()
            try Self.check(hasEnded.wait(timeout: .now() + 10) == .success)
        }
    }

    private static func check(_ condition: Bool) throws {
        if !condition { throw Errno.protocolError }
    }
}
