/// What a base address register describes: the region behind it, which the server sets up.
package struct BAR: Sendable, Hashable {
    /// Bytes of address space, a power of two; 0 for none.
    package var size: UInt64
    /// Memory, or I/O ports.
    package var isMemory: Bool
    /// Whether a memory BAR takes the dword above it for the high half of its address.
    package var is64Bit: Bool
    /// Whether reads of the memory have no side effects.
    package var isPrefetchable: Bool

    /// A BAR never set up counts as I/O of size 0.
    package static let none = BAR(size: 0, isMemory: false)

    package init(size: UInt64, isMemory: Bool, is64Bit: Bool = false, isPrefetchable: Bool = false) {
        self.size = size
        self.isMemory = isMemory
        self.is64Bit = is64Bit
        self.isPrefetchable = isPrefetchable
    }

    /// There are no 64-bit I/O BARs: the flag means nothing there.
    var hasUpperHalf: Bool { isMemory && is64Bit }

    /// The type bits of the dword (PCI Local Bus 3.0, 6.2.5.1). I/O BARs have only one, bit 0.
    var typeBits: UInt32 {
        guard isMemory else { return 0x1 }
        return (is64Bit ? 0x4 : 0) | (isPrefetchable ? 0x8 : 0)
    }

    /// The bits of the dword that hold its type and that no client can change.
    var typeMask: UInt32 { isMemory ? 0xf : 0x3 }

    /// The bits of the dword that hold an address.
    var addressMask: UInt32 {
        size == 0 ? 0 : UInt32(truncatingIfNeeded: ~(size &- 1))
    }

    /// The address bits of the dword above; below 4 GiB all of them, since the BAR may be placed anywhere.
    var upperAddressMask: UInt32 {
        size == 0 ? 0 : UInt32(truncatingIfNeeded: ~(size &- 1) >> 32)
    }
}
