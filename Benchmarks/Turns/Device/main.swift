// What servers.c makes of the C API, as far as reading and writing registers goes: Device SOCKET poll|wait

import Glibc
import SystemPackage
import VFIOUserServer

final class Registers: Device {
    func read(
        _ region: RegionIndex, at offset: UInt64, into data: inout MutableRawSpan, on server: DeviceServer
    ) throws(Errno) {
        for place in 0..<data.byteCount { data.storeBytes(of: 1, toByteOffset: place, as: UInt8.self) }
    }

    func write(_ region: RegionIndex, at offset: UInt64, from data: RawSpan, on server: DeviceServer)
        throws(Errno)
    {}
}

let polls = CommandLine.arguments[2] == "poll"
let server = try DeviceServer(
    Registers(), at: .path(CommandLine.arguments[1]), waiting: polls ? .polling : .blocking)
try server.setRegion(.bar0, Region(size: 128 << 10, flags: [.readWrite, .memory]))
try server.realize()
while !server.isAttached {
    do throws(Errno) { try server.attach() } catch  where error == .resourceTemporarilyUnavailable {}
}
do throws(Errno) {
    while polls { _ = try server.poll() }
    try server.run()
} catch {
    exit(0)
}
