/// The PCI configuration space of one device: its bytes, and the rules by which a client reads and writes them.
///
/// It runs nothing of the device. An access is cut into segments (`segment(at:remaining:write:)`), each of which
/// says who handles it; the server calls the program for callbacks and resets, and the rest comes back here.
/// Nothing traps, whatever the offsets, counts and bytes, and whatever the program stores through its pointer.
///
/// Like a device context it belongs to one thread at a time.
package final class ConfigSpace {
    /// The bytes; their address stays the same for the life of the object.
    package let storage: ConfigStorage

    /// The kind of bus.
    package let kind: PCIKind

    /// Whether the server has a callback for the config region. It takes the space outside header and capabilities,
    /// and the capabilities added with `CapabilityFlags.callback`.
    package var hasCallback = false

    /// Every capability added, in address order; none overlap.
    package private(set) var capabilities: [Capability] = []

    /// The BARs as last described. They matter for writes, and for the type bits at `realize`.
    var bars: [6 of BAR] = .init(repeating: .none)

    /// Config space of a kind of device: 256 or 4096 zero bytes.
    package init(kind: PCIKind) {
        self.kind = kind
        storage = ConfigStorage(size: kind.configSpaceSize)
    }

    /// Config space of a device that never chose a kind: conventional, with 256 bytes, or 4096 if the region
    /// was set up larger than that. It is never smaller, since programs see a structure of 256 bytes.
    package init(regionSize: Int) {
        kind = .conventional
        storage = ConfigStorage(size: regionSize <= 256 ? 256 : 4096)
    }

    /// The number of bytes, 256 or 4096.
    package var size: Int { storage.size }

    /// The live bytes, for programs that want a pointer. Valid until the object goes.
    @unsafe
    package var unsafeBytes: UnsafeMutableRawBufferPointer { unsafe storage.unsafeBytes }

    func insert(_ capability: Capability) {
        let index = capabilities.firstIndex { $0.offset > capability.offset } ?? capabilities.endIndex
        capabilities.insert(capability, at: index)
    }
}

// MARK: What the device is

extension ConfigSpace {
    /// Writes the four ids.
    package func setIdentity(_ identity: PCIIdentity) {
        storage.store16(identity.vendor, at: HeaderOffset.vendor)
        storage.store16(identity.device, at: HeaderOffset.device)
        storage.store16(identity.subsystemVendor, at: HeaderOffset.subsystemVendor)
        storage.store16(identity.subsystem, at: HeaderOffset.subsystem)
    }

    /// Writes the class code.
    package func setClass(_ code: PCIClass) {
        storage.store8(code.programmingInterface, at: HeaderOffset.classCode)
        storage.store8(code.sub, at: HeaderOffset.classCode + 1)
        storage.store8(code.base, at: HeaderOffset.classCode + 2)
    }

    /// Writes the revision id. (`vfu_pci_init` ignores the one it is given.)
    package func setRevision(_ revision: UInt8) {
        storage.store8(revision, at: HeaderOffset.revision)
    }

    /// Describes the region behind BAR `index`; an index outside 0...5 is ignored. May be called at any time, but
    /// the type bits a client reads are those of the time of `realize`.
    package func setBAR(_ index: Int, _ bar: BAR) {
        guard bars.indices.contains(index) else { return }
        bars[index] = bar
    }

    /// Finishes set-up: BAR type bits, interrupt pin INTA# if the device has INTx interrupts, and the capabilities
    /// bit of the status register if it has standard capabilities. Called once.
    ///
    /// BARs never set up start as 0x1 (an I/O BAR of size 0).
    package func realize(intxCount: Int) {
        for index in bars.indices {
            // The upper half of a 64-bit BAR is all address.
            if index % 2 == 1 && bars[index - 1].hasUpperHalf { continue }
            let bar = bars[index]
            let offset = HeaderOffset.bar0 + 4 * index
            storage.store32(storage.load32(at: offset) & ~bar.typeMask | bar.typeBits, at: offset)
        }
        if intxCount > 0 { storage.store8(1, at: HeaderOffset.interruptPin) }
        if capabilities.contains(where: { !$0.isExtended }) {
            storage.store16(storage.load16(at: HeaderOffset.status) | 0x10, at: HeaderOffset.status)
        }
    }
}
