internal import SystemPackage

/// Where the fields of a type 0 header are.
enum HeaderOffset {
    static let vendor = 0x00
    static let device = 0x02
    static let command = 0x04
    static let status = 0x06
    static let revision = 0x08
    static let classCode = 0x09
    static let cacheLineSize = 0x0c
    static let latencyTimer = 0x0d
    static let bar0 = 0x10
    static let subsystemVendor = 0x2c
    static let subsystem = 0x2e
    static let rom = 0x30
    static let capabilities = 0x34
    static let interruptLine = 0x3c
    static let interruptPin = 0x3d
    static let minGrant = 0x3e
    static let maxLatency = 0x3f
    /// Where the header ends.
    static let end = 0x40
}

/// A header register that takes writes.
package enum HeaderRegister: Sendable, Hashable {
    case command
    /// Stored as written: cache line size, latency timer, interrupt line.
    case byte
    case bar(Int)
    case rom
    /// Read-only, but drivers write it: status, revision, class, interrupt pin, minimum grant, maximum latency.
    case ignored

    /// The register whose first byte is at `offset`, and its size. Nil where no register starts, and where one
    /// starts that refuses writes.
    static func starting(at offset: Int) -> (register: HeaderRegister, size: Int)? {
        switch offset {
        case HeaderOffset.command: (.command, 2)
        case HeaderOffset.status: (.ignored, 2)
        case HeaderOffset.revision: (.ignored, 1)
        case HeaderOffset.classCode: (.ignored, 3)
        case HeaderOffset.cacheLineSize, HeaderOffset.latencyTimer: (.byte, 1)
        case 0x10, 0x14, 0x18, 0x1c, 0x20, 0x24: (.bar((offset - HeaderOffset.bar0) / 4), 4)
        case HeaderOffset.rom: (.rom, 4)
        case HeaderOffset.interruptLine: (.byte, 1)
        case HeaderOffset.interruptPin, HeaderOffset.minGrant, HeaderOffset.maxLatency: (.ignored, 1)
        default: nil
        }
    }
}

/// Bits of the command register.
private enum Command {
    /// I/O, memory, bus master, memory write and invalidate, SERR#, INTx disable.
    static let stored: UInt16 = 0x0517
    /// VGA palette snoop: a client may ask for it, and does not get it.
    static let ignored: UInt16 = 0x0020
}

extension ConfigSpace {
    func write(_ write: PartialWrite, _ bytes: RawSpan, to register: HeaderRegister) throws(Errno) {
        switch register {
        case .ignored: break
        case .byte: storage.store8(bytes.byte(at: 0), at: write.offset)
        case .command: try writeCommand(write, bytes)
        case .bar(let index): writeBAR(index, write, bytes)
        case .rom: try writeROM(write, bytes)
        }
    }

    /// The bits that exist are stored even if one that does not makes the write fail.
    private func writeCommand(_ write: PartialWrite, _ bytes: RawSpan) throws(Errno) {
        let written: UInt16 = write.length < 2 ? 0x00ff : 0xffff
        let value = merged16(write, bytes, at: HeaderOffset.command) & written
        let stored = Command.stored & written
        let old = storage.load16(at: HeaderOffset.command)
        storage.store16(old & ~stored | value & stored, at: HeaderOffset.command)
        guard value & ~(stored | Command.ignored) == 0 else { throw .invalidArgument }
    }

    /// Stores the address bits and keeps the type bits. A BAR write moves nothing.
    private func writeBAR(_ index: Int, _ write: PartialWrite, _ bytes: RawSpan) {
        guard bars.indices.contains(index) else { return }
        let offset = HeaderOffset.bar0 + 4 * index
        let value = merged(write, bytes, at: offset, count: 4)
        let address: UInt32
        let type: UInt32
        if index % 2 == 1 && bars[index - 1].hasUpperHalf {
            address = bars[index - 1].upperAddressMask
            type = 0
        } else {
            address = bars[index].addressMask
            type = bars[index].typeMask
        }
        storage.store32(value & address & ~type | storage.load32(at: offset) & type, at: offset)
    }

    /// There is no ROM register: it takes the writes by which software sizes and disables one, and stays 0.
    private func writeROM(_ write: PartialWrite, _ bytes: RawSpan) throws(Errno) {
        switch merged(write, bytes, at: HeaderOffset.rom, count: 4) {
        case 0: storage.store32(0, at: HeaderOffset.rom)
        case 0xffff_f800, 0xffff_fffe, 0xffff_ffff: break
        default: throw .invalidArgument
        }
    }
}
