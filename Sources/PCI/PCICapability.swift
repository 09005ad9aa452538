public import SystemPackage

/// A capability a device shows its driver, made by one of the functions below and given to the server.
public struct PCICapability: Sendable, Hashable {
    /// How clients get at it.
    public struct Options: OptionSet, Sendable, Hashable {
        /// The bits.
        public let rawValue: UInt8

        /// Options of these bits.
        public init(rawValue: UInt8) { self.rawValue = rawValue }

        /// Writes fail with `EPERM`.
        public static let readOnly = Options(rawValue: 1 << 0)
        /// The device's callback for the config region handles accesses, instead of the library.
        public static let callback = Options(rawValue: 1 << 1)
    }

    /// Its bytes, header first; the list pointer in it is filled in when it is added.
    public let bytes: [UInt8]

    /// Whether it belongs to the extended list, which only PCI-X mode 2 and PCI Express have.
    public let isExtended: Bool

    /// How clients get at it; none by default.
    public var options: Options = []

    private init(_ bytes: [UInt8], extended: Bool = false) {
        self.bytes = bytes
        isExtended = extended
    }

    /// The same capability with other options.
    public func with(_ options: Options) -> PCICapability {
        var copy = self
        copy.options = options
        return copy
    }
}

// MARK: Standard capabilities

extension PCICapability {
    /// PCI power management, version 3: D0 and D3hot, and the two states between on request. Changing the
    /// power state has no effect in the library. A soft reset on leaving D3hot is denied unless `resetsOnD3Exit`.
    public static func powerManagement(
        d1: Bool = false, d2: Bool = false, resetsOnD3Exit: Bool = false
    ) -> PCICapability {
        let capabilities: UInt16 = 3 | (d1 ? 1 << 9 : 0) | (d2 ? 1 << 10 : 0)
        let control: UInt16 = resetsOnD3Exit ? 0 : 1 << 3
        return PCICapability([0x01, 0] + littleEndian(capabilities) + littleEndian(control) + [0, 0])
    }

    /// Message-signalled interrupts with 64-bit addresses and a mask bit per vector.
    ///
    /// `EINVAL` unless `vectors` is 1, 2, 4, 8, 16 or 32.
    public static func msi(vectors: Int) throws(Errno) -> PCICapability {
        guard (1...32).contains(vectors), vectors.nonzeroBitCount == 1 else { throw .invalidArgument }
        let control = UInt16(vectors.trailingZeroBitCount) << 1 | 1 << 7 | 1 << 8
        return PCICapability([0x05, 0] + littleEndian(control) + [UInt8](repeating: 0, count: 20))
    }

    /// Where a table of MSI-X lies: offset bytes into a BAR.
    public struct MSIXLocation: Sendable, Hashable {
        /// BAR 0...5.
        public var bar: Int
        /// Bytes from the start of the BAR, a multiple of 8.
        public var offset: UInt32

        /// A place in a BAR.
        public init(bar: Int, offset: UInt32) {
            self.bar = bar
            self.offset = offset
        }

        func register() throws(Errno) -> [UInt8] {
            guard let bar = UInt32(exactly: bar), bar <= 5, offset % 8 == 0 else { throw .invalidArgument }
            return littleEndian(offset | bar)
        }
    }

    /// MSI-X with the given number of vectors. The device provides both tables in its BARs: 16 bytes per vector in
    /// `table`, and one bit per vector, in units of 8 bytes, in `pendingBits`.
    ///
    /// `EINVAL` unless there are 1...2048 vectors, and both places are in BAR 0...5 at multiples of 8; also if they
    /// overlap.
    public static func msix(
        vectors: Int, table: MSIXLocation, pendingBits: MSIXLocation
    ) throws(Errno) -> PCICapability {
        guard (1...2048).contains(vectors) else { throw .invalidArgument }
        let registers = try table.register() + pendingBits.register()
        let tableEnd = UInt64(table.offset) + 16 * UInt64(vectors)
        let pendingEnd = UInt64(pendingBits.offset) + 8 * UInt64((vectors + 63) / 64)
        if table.bar == pendingBits.bar && UInt64(table.offset) < pendingEnd
            && UInt64(pendingBits.offset) < tableEnd
        {
            throw .invalidArgument
        }
        return PCICapability([0x11, 0] + littleEndian(UInt16(vectors - 1)) + registers)
    }

    /// Where a PCI Express function sits.
    public enum ExpressDevice: UInt8, Sendable, Hashable {
        /// Behind a link, in a slot or on a board.
        case endpoint = 0
        /// Within the root complex, without a link.
        case rootComplexEndpoint = 9
    }

    /// PCI Express, version 2: payloads of up to 128 bytes and role-based error reporting; endpoints have a link of one
    /// lane at 2.5 GT/s. With `functionLevelReset` clients may reset the function, which calls the device's
    /// reset handler.
    public static func express(
        _ device: ExpressDevice = .endpoint, functionLevelReset: Bool = false
    ) -> PCICapability {
        var bytes = [UInt8](repeating: 0, count: 60)
        func put(_ value: [UInt8], at offset: Int) {
            bytes.replaceSubrange(offset..<(offset + value.count), with: value)
        }
        bytes[0] = 0x10
        put(littleEndian(UInt16(2) | UInt16(device.rawValue) << 4), at: 2)
        put(littleEndian(UInt32(1) << 15 | (functionLevelReset ? 1 << 28 : 0)), at: 4)
        if device == .endpoint {
            put(littleEndian(UInt32(0x011)), at: 12)
            put(littleEndian(UInt16(0x011)), at: 18)
            put(littleEndian(UInt32(1) << 1), at: 44)
            put(littleEndian(UInt16(1)), at: 48)
        }
        return PCICapability(bytes)
    }

    /// A vendor's own data, 0...252 bytes. Clients may write it unless it is read-only.
    ///
    /// `EINVAL` if it is longer.
    public static func vendorSpecific(_ data: [UInt8]) throws(Errno) -> PCICapability {
        guard data.count <= 252 else { throw .invalidArgument }
        return PCICapability([0x09, 0, UInt8(data.count + 3)] + data)
    }
}

// MARK: Extended capabilities

extension PCICapability {
    /// A device serial number, an EUI-64. Always read-only.
    public static func deviceSerialNumber(_ number: UInt64) -> PCICapability {
        let low = UInt32(truncatingIfNeeded: number)
        let high = UInt32(truncatingIfNeeded: number >> 32)
        let header = littleEndian(UInt32(0x0003) | 1 << 16)
        return PCICapability(header + littleEndian(low) + littleEndian(high), extended: true)
    }

    /// A vendor's own data, 0...3831 bytes, in the extended list. Clients may write it unless it is read-only.
    /// The vendor gives meaning to `id` and `revision`.
    ///
    /// `EINVAL` if the data is longer or the revision above 15.
    public static func extendedVendorSpecific(
        id: UInt16, revision: UInt8 = 0, _ data: [UInt8]
    ) throws(Errno) -> PCICapability {
        // Config space has 3840 bytes above 0x100, of which a capability may not take the very last.
        guard data.count <= 3831, revision <= 15 else { throw .invalidArgument }
        let length = UInt32(data.count + 8)
        let header = littleEndian(UInt32(0x000b) | 1 << 16)
        let vendorHeader = littleEndian(UInt32(id) | UInt32(revision) << 16 | length << 20)
        return PCICapability(header + vendorHeader + data, extended: true)
    }
}

private func littleEndian(_ value: UInt16) -> [UInt8] {
    [UInt8(truncatingIfNeeded: value), UInt8(truncatingIfNeeded: value >> 8)]
}

private func littleEndian(_ value: UInt32) -> [UInt8] {
    (0..<4).map { UInt8(truncatingIfNeeded: value >> UInt32(8 * $0)) }
}
