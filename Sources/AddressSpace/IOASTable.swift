internal import Synchronization
package import SystemPackage
internal import VFIOUserSystem

/// The I/O address spaces of one device and its present connection.
///
/// The one memory manager under both protocols: legacy DMA_MAP and DMA_UNMAP work on the compatibility IOAS,
/// IOAS commands on those the client allocates. The device sees the attached one, through `translator`.
///
/// The table never calls anyone: it changes things, and the server tells the device. To unmap, the server
/// finds the mapping, lets the device unregister it (all still works), and removes it. Whatever a method
/// throws, nothing has changed. Methods that change what is attached are for times when the device is
/// quiesced.
@safe
package final class IOASTable {
    /// Mappings there may be, over all address spaces.
    package let limit: Int
    /// Address spaces there may be.
    package let spaceLimit: Int
    /// What the device's DMA goes through; good as long as the table.
    package let translator: Translator

    /// What is asked of files.
    package var filePolicy = FilePolicy()
    /// Whether translations to read need the right to in mappings of DMA_MAP too.
    private(set) var checksReads = false

    let pool: MappingPool
    let state: UnsafeMutablePointer<TranslationState>
    let files = FileTable()
    /// In ascending order of their ids; few.
    private(set) var spaces: [IOAS] = []
    /// The one of id 1, kept from one connection to the next.
    private let firstSpace: IOAS
    private var nextID: UInt32 = 1
    private(set) var attached: IOAS?
    private var compatibility: IOAS?
    /// Memory of mappings that have gone, not unmapped yet.
    let retired = RetiredMemory()

    /// The default limit on mappings.
    package static let defaultLimit = 65_535

    /// A table with room for `limit` mappings: at most 2^24, whatever is asked for. 0 admits none.
    ///
    /// Room is address space only until it is used. Throws `ENOMEM`.
    package init(limit: Int = defaultLimit, spaceLimit: Int = 64) throws(Errno) {
        pool = try MappingPool(capacity: limit, firstGeneration: IOASTable.nextGeneration())
        firstSpace = IOAS(id: 1, pool)
        self.limit = pool.capacity
        self.spaceLimit = spaceLimit
        unsafe state = UnsafeMutablePointer<TranslationState>.allocate(capacity: 1)
        unsafe state.initialize(to: TranslationState(capacity: pool.capacity, records: pool.records))
        unsafe translator = Translator(state)
    }

    deinit {
        endConnection()
        // Allocated by init, and a translator may not be used for longer than its table.
        unsafe state.deinitialize(count: 1)
        unsafe state.deallocate()
    }

    private static let tables = Atomic<UInt32>(0)

    /// Another start for every table, so that an entry of one is most likely stale in another.
    private static func nextGeneration() -> UInt32 {
        let number = tables.wrappingAdd(1, ordering: .relaxed).newValue
        return number &* 0x9E37_79B1
    }

    // MARK: Connections

    /// Begins a legacy connection: one address space, attached, for DMA_MAP and DMA_UNMAP.
    package func beginLegacy() {
        endConnection()
        let space = add()
        compatibility = space
        attached = space
        checksReads = false
    }

    /// Begins an IOAS connection, with no address space.
    package func beginIOAS() {
        endConnection()
        checksReads = true
    }

    /// Unmaps everything and forgets every address space. Dirty logging goes on.
    ///
    /// The server has told the device before.
    package func endConnection() {
        // There has been no address space since the last time.
        if nextID == 1 { return }
        attached = nil
        compatibility = nil
        publish()
        for space in spaces { dropMappings(of: space) }
        spaces.removeAll(keepingCapacity: true)
        nextID = 1
        settle()
        UnmapBacklog.clear()
    }

    // MARK: Address spaces

    /// Makes an empty address space (IOAS_ALLOC). Throws `ENOSPC` if there are too many.
    package func allocate() throws(Errno) -> UInt32 {
        if spaces.count >= spaceLimit || nextID == UInt32.max { throw .noSpace }
        return add().id
    }

    /// Unmaps everything in an address space and forgets it (IOAS_DESTROY).
    ///
    /// Throws `ENOENT` if there is none of that id, `EBUSY` if it is attached.
    package func destroy(_ id: UInt32) throws(Errno) {
        let space = try self.space(id)
        if space === attached { throw .resourceBusy }
        if space === compatibility { compatibility = nil }
        dropMappings(of: space)
        spaces.removeAll { $0 === space }
    }

    /// Makes an address space the one the device sees (ATTACH_PT), in place of any other.
    ///
    /// The server has let the device unregister the mappings of the other; it lets it register those of this
    /// one afterwards. Throws `ENOENT` if there is none of that id, `ENOMEM` if dirty logging is on and there
    /// is no memory for the bits.
    package func attach(_ id: UInt32) throws(Errno) {
        try prepareAttach(id)
        let space = try self.space(id)
        if space === attached { return }
        if let attached { hide(attached) }
        attached = space
        unsafe forEach(in: space) { record in unsafe record.pointee.denied &= ~AccessRights.hidden }
        publish()
    }

    /// Does the part of `attach` that can fail, before the device is told of anything. Throws as `attach`.
    package func prepareAttach(_ id: UInt32) throws(Errno) {
        let space = try self.space(id)
        if space === attached || loggingPageSize == 0 { return }
        try track(space)
    }

    /// Leaves the device with nothing to see (DETACH_PT). Throws `EINVAL` if nothing is attached.
    package func detach() throws(Errno) {
        guard let space = attached else { throw .invalidArgument }
        hide(space)
        attached = nil
        publish()
    }

    /// The id of the attached address space.
    package var attachedID: UInt32? { attached?.id }

    /// The id of the address space that legacy commands work on.
    package var compatibilityID: UInt32? { compatibility?.id }

    /// Names the address space that legacy commands work on, nil for none (COMPAT_IOAS). Throws `ENOENT`.
    package func setCompatibility(_ id: UInt32?) throws(Errno) {
        guard let id else {
            compatibility = nil
            return
        }
        compatibility = try space(id)
    }

    /// The address space of an id. Throws `ENOENT`.
    func space(_ id: UInt32) throws(Errno) -> IOAS {
        // Nearly always that one.
        if let attached, attached.id == id { return attached }
        guard let space = spaces.first(where: { $0.id == id }) else { throw .noSuchFileOrDirectory }
        return space
    }

    private func add() -> IOAS {
        let space = nextID == firstSpace.id ? firstSpace : IOAS(id: nextID, pool)
        spaces.append(space)
        nextID += 1
        return space
    }

    /// Takes the mappings of an address space out of the device's sight. Entries that name them are stale
    /// from here on.
    private func hide(_ space: IOAS) {
        untrack(space)
        unsafe forEach(in: space) { record in
            unsafe record.pointee.denied |= AccessRights.hidden
            unsafe record.pointee.generation &+= 1
        }
    }

    /// Calls `body` with each record of an address space, in ascending order.
    func forEach(in space: IOAS, _ body: (UnsafeMutablePointer<MappingRecord>) -> Void) {
        var place = unsafe space.tree.first
        while let here = unsafe place {
            unsafe body(pool.record(here.slot))
            unsafe place = here.next
        }
    }

    /// Shows translation the attached address space as it is now.
    func publish() {
        unsafe state.pointee.root = attached?.tree.root
        unsafe state.pointee.height = attached?.tree.height ?? 0
    }
}
