public import SystemPackage
public import VFIOUserPCI

extension DeviceServer {
    /// Gives the device a zeroed configuration space: 256 bytes for conventional devices, 4096 for PCI Express.
    ///
    /// - Throws: `EEXIST` it has one, be it from ``realize()``.
    public func initializePCI(_ kind: PCIKind) throws(Errno) {
        guard configuration == nil else { throw .fileExists }
        adopt(ConfigSpace(kind: kind))
    }

    /// For ``realize()`` when nobody chose a kind.
    func makeConfigurationSpace(size: Int) throws(Errno) {
        let region = regions[Int(RegionIndex.configuration.rawValue)]
        adopt(ConfigSpace(regionSize: size))
        if !region.flags.isEmpty { regions[Int(RegionIndex.configuration.rawValue)].flags = region.flags }
    }

    private func adopt(_ space: ConfigSpace) {
        configuration = space
        let place = Int(RegionIndex.configuration.rawValue)
        regions[place].size = UInt64(space.size)
        regions[place].flags = .readWrite
        for index in RegionIndex.allCases { configurationFollows(index) }
    }

    /// Tells the configuration space what it has to know of a region.
    func configurationFollows(_ index: RegionIndex) {
        guard let configuration else { return }
        let region = regions[Int(index.rawValue)]
        if index.isBAR {
            configuration.setBAR(
                Int(index.rawValue),
                BAR(
                    size: region.size, isMemory: region.flags.contains(.memory),
                    is64Bit: region.flags.contains(.bits64),
                    isPrefetchable: region.flags.contains(.prefetchable)))
        } else if index == .configuration {
            configuration.hasCallback = region.isHandled
        }
    }

    /// BAR types, interrupt pin and the capabilities bit, from what was declared.
    func realizeConfigurationSpace() {
        configuration?.realize(intxCount: Int(interruptCounts[Int(InterruptKind.intx.rawValue)]))
    }

    /// Sets vendor, device and subsystem ids; needs ``initializePCI(_:)`` or ``realize()`` before, else `EINVAL`.
    public func setIdentity(_ identity: PCIIdentity) throws(Errno) {
        try configurationSpace().setIdentity(identity)
    }

    /// Sets the class code; as ``setIdentity(_:)``.
    public func setClass(_ code: PCIClass) throws(Errno) {
        try configurationSpace().setClass(code)
    }

    /// Adds a capability and returns its offset in configuration space.
    ///
    /// - Throws: `EINVAL` the offset is below 0x40 (extended: 0x100, where the first one must be), not a multiple of 4
    ///   (extended), in the way of another or without room; an extended one in 256 bytes of configuration space; neither
    ///   ``initializePCI(_:)`` nor ``realize()`` before. `ENOSPC` no room behind the last one, or 128 of them already.
    @discardableResult
    public func addCapability(_ capability: PCICapability, at offset: Int = 0) throws(Errno) -> Int {
        try configurationSpace().addCapability(capability, at: offset)
    }

    /// The configuration space, live.
    package func configurationSpace() throws(Errno) -> ConfigSpace {
        guard let configuration else { throw .invalidArgument }
        return configuration
    }
}
