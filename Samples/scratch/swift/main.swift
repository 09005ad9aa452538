import VFIOUserServer

final class ScratchDevice: Device {
    var scratch = [UInt8](repeating: 0, count: 4096)

    func read(
        _ region: RegionIndex, at offset: UInt64, into data: inout MutableRawSpan, on server: DeviceServer
    ) throws(Errno) {
        for place in 0..<data.byteCount {
            data.storeBytes(of: scratch[Int(offset) + place], toByteOffset: place, as: UInt8.self)
        }
    }

    func write(_ region: RegionIndex, at offset: UInt64, from data: RawSpan, on server: DeviceServer)
        throws(Errno)
    {
        data.withUnsafeBytes { scratch.replaceSubrange(Int(offset)..<Int(offset) + $0.count, with: $0) }
    }
}

let server = try DeviceServer(ScratchDevice(), at: .path(CommandLine.arguments[1]))
try server.initializePCI(.conventional)
try server.setIdentity(PCIIdentity(vendor: 0x1b36, device: 0x0005))
try server.setRegion(.bar0, Region(size: 4096, flags: [.readWrite, .memory]))
try server.serve()
