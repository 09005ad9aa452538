internal import CLinux
public import SystemPackage
internal import VFIOUserAddressSpace

extension DeviceServer {
    /// Declares, replaces or (size 0) clears a region. At any time; clients see it when they next ask. A client that has
    /// mapped a region keeps the mapping, also when it has gone: a device whose file means something to the next client
    /// gives the region another one in ``Device/reset(_:on:)`` for ``ResetKind/lostConnection``.
    ///
    /// The configuration region's size always follows the kind of device (``initializePCI(_:)``).
    ///
    /// - Throws: `EINVAL`, with nothing changed: flags name neither reading nor writing; ``Region/Flags/alwaysDevice`` without
    ///   a handler; areas without a file or outside the region; a BAR whose size is no power of two or below 16 (memory) or
    ///   4 (I/O) bytes; a 64-bit BAR at an odd index or below one that is in use; a BAR that is the upper half of
    ///   another; a configuration region that is not readable and writable or is memory.
    public func setRegion(_ index: RegionIndex, _ region: Region) throws(Errno) {
        try check(index, region)
        var state = RegionState()
        state.size = region.size
        state.flags = region.flags
        state.isHandled = region.isHandled
        state.file = region.file?.rawValue ?? -1
        state.fileOffset = region.fileOffset
        state.areas = region.mappableAreas
        if state.file >= 0, state.areas.isEmpty { state.areas = [Region.Area(offset: 0, size: region.size)] }
        let place = Int(index.rawValue)
        state.notifiers = regions[place].notifiers
        if index == .configuration, let configuration { state.size = UInt64(configuration.size) }
        regions[place] = state
        configurationFollows(index)
    }

    private func check(_ index: RegionIndex, _ region: Region) throws(Errno) {
        let flags = region.flags
        guard Region.Flags.all.isSuperset(of: flags), !flags.isDisjoint(with: .readWrite) else {
            throw .invalidArgument
        }
        guard !flags.contains(.alwaysDevice) || region.isHandled else { throw .invalidArgument }
        guard region.mappableAreas.isEmpty || region.file != nil else { throw .invalidArgument }
        if index.isBAR { try checkBAR(Int(index.rawValue), region) }
        if index == .configuration {
            guard flags.isSuperset(of: .readWrite), !flags.contains(.memory) else { throw .invalidArgument }
        }
        for area in region.mappableAreas {
            let (end, overflows) = area.offset.addingReportingOverflow(area.size)
            guard !overflows, end <= region.size else { throw .invalidArgument }
        }
    }

    private func checkBAR(_ index: Int, _ region: Region) throws(Errno) {
        let least: UInt64 = region.flags.contains(.memory) ? 16 : 4
        guard region.size == 0 || (region.size >= least && region.size.nonzeroBitCount == 1) else {
            throw .invalidArgument
        }
        if index % 2 == 1 {
            guard !region.flags.contains(.bits64), !regions[index - 1].flags.contains(.bits64) else {
                throw .invalidArgument
            }
        } else if region.flags.contains(.bits64) {
            guard regions[index + 1].size == 0 else { throw .invalidArgument }
        }
    }

    /// Adds an eventfd that the client may have writes signalled through (DEVICE_GET_REGION_IO_FDS).
    ///
    /// - Throws: `EINVAL` the range does not lie within the region, which must be declared before.
    public func addIOEventFD(_ notifier: IOEventFD, to index: RegionIndex) throws(Errno) {
        let place = Int(index.rawValue)
        let (end, overflows) = notifier.offset.addingReportingOverflow(UInt64(notifier.size))
        guard !overflows, end <= regions[place].size else { throw .invalidArgument }
        regions[place].notifiers.insert(notifier, at: 0)
    }

    /// Removes all eventfds of a region, to add others for the next client: one that has been told of them keeps them, and
    /// their shadow memory.
    public func removeIOEventFDs(from index: RegionIndex) {
        regions[Int(index.rawValue)].notifiers = []
    }

    /// Says how many vectors of a kind the device has. By default 1 for error and request, 0 for the others.
    ///
    /// - Throws: `EINVAL` after ``realize()`` when there is no room for so many.
    public func setInterruptCount(_ kind: InterruptKind, _ count: UInt32) throws(Errno) {
        guard !isRealized || Int(count) <= interrupts.count else { throw .invalidArgument }
        interruptCounts[Int(kind.rawValue)] = count
    }

    /// Lets the device use client memory. Without, a client's DMA_MAP and DMA_UNMAP succeed and do nothing.
    ///
    /// Calling it again starts anew: what a client has mapped is gone.
    ///
    /// - Parameter maxRegions: how many mappings a client may have.
    /// - Throws: `EINVAL` called from a callback; `ENOMEM`.
    public func enableDMA(maxRegions: Int = 65_535) throws(Errno) {
        guard !isProcessing else { throw .invalidArgument }
        let spaces = try IOASTable(limit: maxRegions)
        isProcessing = true
        forgetClientMemory()
        isProcessing = false
        spaces.filePolicy = memorySettings.files
        if let usesIOAS { usesIOAS ? spaces.beginIOAS() : spaces.beginLegacy() }
        self.spaces = spaces
        doesDMA = true
    }

    /// Whether ``enableDMA(maxRegions:)`` was called.
    public var isDMAEnabled: Bool { doesDMA }

    /// Signals interrupt `vector` to the client; INTx is vector 0.
    ///
    /// - Throws: `EINVAL` no such vector, `ENOENT` the client has not enabled it, otherwise what writing its eventfd gave.
    public func triggerInterrupt(_ vector: UInt32) throws(Errno) {
        let result = clx_signal(try interruptEventFD(vector))
        if result < 0 { throw Errno(rawValue: -result) }
    }

    /// The eventfd that ``triggerInterrupt(_:)`` signals; it stays the server's. Throws as that, but for writing.
    package func interruptEventFD(_ vector: UInt32) throws(Errno) -> CInt {
        try interrupts.eventFD(of: vector)
    }

    /// Takes back the signal of interrupt `vector`, for whose cause there is none any more, if the client has not
    /// taken it yet. For INTx, which is a level: a client that is told late finds nothing to service, and may be told
    /// again and again by its virtual interrupt controller.
    ///
    /// - Returns: whether there was a signal to take back.
    public func withdrawInterrupt(_ vector: UInt32) -> Bool {
        interrupts.withdraw(vector)
    }

    /// Signals the error or request interrupt.
    ///
    /// - Throws: as ``triggerInterrupt(_:)``.
    public func triggerInterrupt(_ kind: InterruptKind, vector: UInt32 = 0) throws(Errno) {
        guard vector < interruptCounts[Int(kind.rawValue)] else { throw .invalidArgument }
        try interrupts.trigger(kind, Int(vector))
    }
}
