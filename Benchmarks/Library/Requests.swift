import Benchmark
import CLinux
import Glibc
import SystemPackage
import VFIOUserServer
import VFIOUserSystem
import VFIOUserWire

/// What a polling server does with a request, from socket to socket: both ends are in this thread.
func requests() {
    for count in [1, 32] {
        Benchmark("Server: \(count) REGION_READ of 4 bytes in one send") { benchmark in
            let session = try Session()
            let request = message(.regionRead, integers: 16, 4 << 32)
            let burst = Array(repeatElement(request, count: count).joined())
            benchmark.startMeasurement()
            for _ in benchmark.scaledIterations {
                try session.exchange(burst, count: count, reply: 36 * count)
            }
            benchmark.stopMeasurement()
        }
    }

    Benchmark("Server: poll that finds nothing") { benchmark in
        let session = try Session()
        benchmark.startMeasurement()
        for _ in benchmark.scaledIterations { blackHole(try session.server.poll()) }
        benchmark.stopMeasurement()
    }
}

/// A device with 4 KiB of registers, and a client's end of its socket.
final class Session {
    let server: DeviceServer
    private let socket: OwnedFD
    private var replies = [UInt8](repeating: 0, count: 1 << 16)

    private final class Registers: Device {
        private var memory = [UInt8](repeating: 0, count: 4096)

        func read(
            _ region: RegionIndex, at offset: UInt64, into data: inout MutableRawSpan, on server: DeviceServer
        ) throws(Errno) {
            for place in 0..<data.byteCount {
                data.storeBytes(of: memory[Int(offset) + place], toByteOffset: place, as: UInt8.self)
            }
        }
    }

    init() throws {
        var pair: (CInt, CInt) = (-1, -1)
        // The call fills both.
        _ = try withUnsafeMutableBytes(of: &pair) {
            try clx_socket_pair($0.baseAddress?.assumingMemoryBound(to: CInt.self)).orErrno()
        }
        socket = OwnedFD(adopting: pair.1)
        server = try DeviceServer(
            Registers(), at: .connected(FileDescriptor(rawValue: pair.0)), waiting: .polling)
        try server.setRegion(.bar0, Region(size: 4096, flags: [.readWrite, .memory]))
        try server.realize()
        // Version 0.1 without capabilities.
        var version = message(.version, integers: 1 << 16)
        version.removeLast(4)
        version[4] = UInt8(version.count)
        send(version)
        try server.attach()
        _ = receive(at: 0)
    }

    private func send(_ bytes: [UInt8]) { _ = write(socket.number, bytes, bytes.count) }

    private func receive(at place: Int) -> Int {
        replies.withUnsafeMutableBytes { bytes in
            recv(socket.number, bytes.baseAddress.map { $0 + place }, bytes.count - place, 0)
        }
    }

    /// Sends requests, has them carried out, takes the replies.
    func exchange(_ requests: [UInt8], count: Int, reply: Int) throws {
        send(requests)
        guard try server.poll() == count else { throw Errno.ioError }
        var received = 0
        while received < reply {
            let more = receive(at: received)
            guard more > 0 else { throw Errno.ioError }
            received += more
        }
    }
}
