extension Client {
    /// The number of a region. Those of a PCI device have names; any number can be sent.
    public struct Region: RawRepresentable, Hashable, Sendable, ExpressibleByIntegerLiteral {
        /// The number on the wire.
        public let rawValue: UInt32
        /// Any number.
        public init(rawValue: UInt32) { self.rawValue = rawValue }
        /// Any number.
        public init(integerLiteral value: UInt32) { self.init(rawValue: value) }

        /// Base address register 0...5.
        public static func bar(_ number: UInt32) -> Self { Self(rawValue: number) }
        /// Base address register 0.
        public static var bar0: Self { 0 }
        /// Base address register 1.
        public static var bar1: Self { 1 }
        /// Base address register 2.
        public static var bar2: Self { 2 }
        /// Base address register 3.
        public static var bar3: Self { 3 }
        /// Base address register 4.
        public static var bar4: Self { 4 }
        /// Base address register 5.
        public static var bar5: Self { 5 }
        /// The expansion ROM.
        public static var rom: Self { 6 }
        /// Configuration space.
        public static var config: Self { 7 }
        /// The VGA ports and memory.
        public static var vga: Self { 8 }
    }

    /// The number of a kind of interrupts. Those of a PCI device have names; any number can be sent.
    public struct Interrupt: RawRepresentable, Hashable, Sendable, ExpressibleByIntegerLiteral {
        /// The number on the wire.
        public let rawValue: UInt32
        /// Any number.
        public init(rawValue: UInt32) { self.rawValue = rawValue }
        /// Any number.
        public init(integerLiteral value: UInt32) { self.init(rawValue: value) }

        /// The interrupt pin.
        public static var intx: Self { 0 }
        /// Message-signalled interrupts.
        public static var msi: Self { 1 }
        /// MSI-X.
        public static var msix: Self { 2 }
        /// The device reports an error.
        public static var error: Self { 3 }
        /// The device asks to be released.
        public static var request: Self { 4 }
    }

    /// What the device may do with memory.
    public struct DMARights: OptionSet, Hashable, Sendable {
        /// The bits on the wire.
        public let rawValue: UInt32
        /// Any bits.
        public init(rawValue: UInt32) { self.rawValue = rawValue }

        /// The device may read.
        public static var read: Self { Self(rawValue: 1 << 0) }
        /// The device may write.
        public static var write: Self { Self(rawValue: 1 << 1) }
        /// Both.
        public static var readWrite: Self { [.read, .write] }
    }

    /// How the server is to use the file of a mapping.
    public struct DMAMode: OptionSet, Hashable, Sendable {
        /// The bits on the wire.
        public let rawValue: UInt32
        /// Any bits.
        public init(rawValue: UInt32) { self.rawValue = rawValue }

        /// Not said: it maps a file that comes along.
        public static var serverChoice: Self { [] }
        /// Map it.
        public static var mmap: Self { Self(rawValue: 1 << 2) }
        /// Read and write it.
        public static var fileIO: Self { Self(rawValue: 1 << 3) }
    }

    /// How the server gets at memory that is mapped for it.
    public enum DMASharing: Sendable {
        /// By the memory's file, which goes along.
        case file
        /// By DMA_READ and DMA_WRITE only.
        case messages
    }
}
