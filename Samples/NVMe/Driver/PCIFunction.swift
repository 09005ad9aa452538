internal import SystemPackage
internal import VFIOUserClient

/// The controller's configuration space.
struct PCIFunction {
    let client: Client

    private static let command: UInt64 = 0x04
    private static let status: UInt64 = 0x06
    private static let classCode: UInt64 = 0x08
    private static let capabilities: UInt64 = 0x34
    private static let msix: UInt8 = 0x11
    /// NVM subsystem, NVM Express I/O controller.
    private static let nvme: UInt32 = 0x01_08_02

    /// Checks that it is an NVMe controller, and has it answer and use memory, without INTx.
    func enable() throws(NVMeError) {
        guard try connection({ () throws(Errno) in try client.deviceInfo() }).isPCI else {
            throw .notNVMe(.device)
        }
        let code: UInt32 = try read(Self.classCode) >> 8
        guard code == Self.nvme else { throw .notNVMe(.classCode(code)) }
        let old: UInt16 = try read(Self.command)
        // Memory space, bus master, INTx disable.
        try write(old | 0x406, Self.command)
    }

    /// Finds the MSI-X capability.
    ///
    /// - Returns: where it is, and how many vectors there are; nil if there is none.
    func msixCapability() throws(NVMeError) -> (offset: UInt64, vectors: Int)? {
        let status: UInt16 = try read(Self.status)
        guard status & 0x10 != 0 else { return nil }
        var place: UInt8 = try read(Self.capabilities) & 0xfc
        // There is room for 48; a hostile list may be a ring.
        for _ in 0..<48 where place >= 0x40 {
            let header: UInt16 = try read(UInt64(place))
            if UInt8(truncatingIfNeeded: header) == Self.msix {
                let control: UInt16 = try read(UInt64(place) + 2)
                return (UInt64(place), Int(control & 0x7ff) + 1)
            }
            place = UInt8(header >> 8) & 0xfc
        }
        return nil
    }

    /// Has interrupts go by MSI-X, unmasked.
    func enableMSIX(_ offset: UInt64) throws(NVMeError) {
        let control: UInt16 = try read(offset + 2)
        try write(control & 0x3fff | 0x8000, offset + 2)
    }

    private func read<Value: FixedWidthInteger>(_ offset: UInt64) throws(NVMeError) -> Value {
        try connection { () throws(Errno) in try client.read(.config, at: offset) }
    }

    private func write(_ value: UInt16, _ offset: UInt64) throws(NVMeError) {
        try connection { () throws(Errno) in try client.write(value, to: .config, at: offset) }
    }
}
