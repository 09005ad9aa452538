/// What Identify Controller says (NVMe 1.4, figure 247).
public struct ControllerIdentity: Equatable, Sendable {
    /// Serial number, without trailing spaces.
    public let serialNumber: String
    /// Model, without trailing spaces.
    public let model: String
    /// Firmware revision, without trailing spaces.
    public let firmware: String
    /// The subsystem's qualified name.
    public let subsystemName: String
    /// PCI vendor.
    public let vendor: UInt16
    /// Version: major number in bits 31:16, minor in 15:8.
    public let version: UInt32
    /// MDTS: most bytes of a command; nil for no limit.
    public let maxTransfer: Int?
    /// Largest namespace identifier there may be.
    public let namespaceCount: UInt32
    /// ONCS: optional NVM commands, a bit each.
    public let optionalCommands: UInt16
    /// Whether it has a volatile write cache, so that Flush means something.
    public let hasVolatileCache: Bool
    /// Whether commands may use SGLs.
    public let takesSGLs: Bool
}

/// A namespace that this driver can use: whole blocks without metadata.
public struct Namespace: Equatable, Sendable, BitwiseCopyable {
    /// 1 or more.
    public let identifier: UInt32
    /// Logical blocks.
    public let blockCount: UInt64
    /// Bytes of a block are 1 << this: 9...16.
    public let blockShift: Int
    /// Whether it is write protected.
    public let isReadOnly: Bool

    /// Bytes of a block.
    public var blockSize: Int { 1 << blockShift }
    /// Bytes of all blocks.
    public var byteCount: UInt64 { blockCount << UInt64(blockShift) }
}

extension ControllerIdentity {
    /// - Parameter page: 4096 bytes as they came.
    init(_ page: [UInt8]) {
        serialNumber = page.text(4, 20)
        model = page.text(24, 40)
        firmware = page.text(64, 8)
        subsystemName = page.text(768, 256)
        vendor = UInt16(truncatingIfNeeded: page.integer(0, 2))
        version = UInt32(truncatingIfNeeded: page.integer(80, 4))
        let shift = page.integer(77, 1)
        // More than 2 GiB is no limit.
        maxTransfer = shift == 0 || shift > 19 ? nil : DataPointer.pageSize << Int(shift)
        namespaceCount = UInt32(truncatingIfNeeded: page.integer(516, 4))
        optionalCommands = UInt16(truncatingIfNeeded: page.integer(520, 2))
        hasVolatileCache = page.integer(525, 1) & 1 != 0
        takesSGLs = page.integer(536, 4) & 3 != 0
    }
}

extension Namespace {
    /// What Identify Namespace says (NVMe 1.4, figure 245).
    ///
    /// - Throws: `.unsupported` there is none, or its format is not supported.
    init(_ identifier: UInt32, _ page: [UInt8]) throws(NVMeError) {
        let blockCount = page.integer(0, 8)
        guard blockCount > 0 else { throw .unsupported(.namespace(identifier)) }
        let format = page.integer(128 + 4 * Int(page.integer(26, 1) & 0xf), 4)
        let shift = format >> 16 & 0xff
        guard format & 0xffff == 0, (9...16).contains(shift), blockCount <= UInt64.max >> shift else {
            throw .unsupported(.blockFormat)
        }
        self.identifier = identifier
        self.blockCount = blockCount
        blockShift = Int(shift)
        isReadOnly = page.integer(99, 1) & 1 != 0
    }
}

extension [UInt8] {
    /// A little-endian integer of up to 8 bytes; bytes that are not there count as 0.
    func integer(_ offset: Int, _ count: Int) -> UInt64 {
        var value: UInt64 = 0
        for place in 0..<Swift.min(count, 8) where indices.contains(offset + place) {
            value |= UInt64(self[offset + place]) << UInt64(8 * place)
        }
        return value
    }

    /// Printable ASCII up to a NUL, without spaces at the end; a question mark for anything else.
    func text(_ offset: Int, _ length: Int) -> String {
        var characters = dropFirst(offset).prefix(length).prefix { $0 != 0 }
        while characters.last == 0x20 { characters.removeLast() }
        return String(
            decoding: characters.map { (0x20...0x7e).contains($0) ? $0 : 0x3f }, as: UTF8.self)
    }
}
