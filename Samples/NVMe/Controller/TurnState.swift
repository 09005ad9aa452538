/// The part of a controller's state that every turn looks at, in memory of its own: looking there checks no
/// exclusivity.
@safe
struct TurnState {
    var activeCount: Int = 0
    var freeSlot: Int32 = -1
    var pendingSlots: Int = 0
    var isRunning = false
    var resetCount: UInt64 = 0
    var memoryEpoch: UInt64 = 1
    var shadow: ShadowDoorbells = ShadowDoorbells()
    var levelIsHigh: Bool = false
    var owesInterrupts: Bool = false
    var due: Due = []
    var isPaused: Bool = false
    var usesCopies: Bool = false
    var isInterrupted = false
    var parked = ParkedCommands()
    var mayReport: Bool = false
    var isTracked: Bool = false
    var staged = StagedCompletions()
    var asksForTracking: Bool = true
    var wakeCount: UInt64 = 0

    init() {}

    /// What goes on when stores are done with what they were given before.
    struct Due: OptionSet {
        let rawValue: UInt8
        /// A client asked for a shutdown.
        static let shutdown = Due(rawValue: 1)
        /// It disabled the controller.
        static let disable = Due(rawValue: 2)
        /// It had a namespace formatted.
        static let format = Due(rawValue: 4)
    }
}

extension NVMeController {
    /// Submission queues there are.
    var activeCount: Int {
        @inline(__always) get { unsafe state.pointee.activeCount }
        @inline(__always) set { unsafe state.pointee.activeCount = newValue }
    }
    /// The first of the list of free slots; -1: none.
    var freeSlot: Int32 {
        @inline(__always) get { unsafe state.pointee.freeSlot }
        @inline(__always) set { unsafe state.pointee.freeSlot = newValue }
    }
    /// Commands that stores have pending.
    var pendingSlots: Int {
        @inline(__always) get { unsafe state.pointee.pendingSlots }
        @inline(__always) set { unsafe state.pointee.pendingSlots = newValue }
    }
    /// Commands are carried out: enabled, not shut down, no fatal error.
    var isRunning: Bool {
        @inline(__always) get { unsafe state.pointee.isRunning }
        @inline(__always) set { unsafe state.pointee.isRunning = newValue }
    }
    /// Counts resets, so that whoever called out notices one.
    package var resetCount: UInt64 {
        @inline(__always) get { unsafe state.pointee.resetCount }
        @inline(__always) set { unsafe state.pointee.resetCount = newValue }
    }
    /// Counts changes of client memory.
    var memoryEpoch: UInt64 {
        @inline(__always) get { unsafe state.pointee.memoryEpoch }
        @inline(__always) set { unsafe state.pointee.memoryEpoch = newValue }
    }
    /// Doorbells in client memory.
    var shadow: ShadowDoorbells {
        @inline(__always) get { unsafe state.pointee.shadow }
        @inline(__always) set { unsafe state.pointee.shadow = newValue }
    }
    /// Whether INTx was signalled and its cause has not gone.
    var levelIsHigh: Bool {
        @inline(__always) get { unsafe state.pointee.levelIsHigh }
        @inline(__always) set { unsafe state.pointee.levelIsHigh = newValue }
    }
    /// Completions that no interrupt has told of yet.
    var owesInterrupts: Bool {
        @inline(__always) get { unsafe state.pointee.owesInterrupts }
        @inline(__always) set { unsafe state.pointee.owesInterrupts = newValue }
    }
    /// What waits for stores.
    var due: TurnState.Due {
        @inline(__always) get { unsafe state.pointee.due }
        @inline(__always) set { unsafe state.pointee.due = newValue }
    }
    /// Entries that wait to be written to their completion queue.
    var stagedCount: Int {
        @inline(__always) get { unsafe state.pointee.staged.count }
        @inline(__always) set { unsafe state.pointee.staged.count = newValue }
    }
    /// Whether the host wants to know what is written by direct addresses.
    var isTracked: Bool {
        @inline(__always) get { unsafe state.pointee.isTracked }
        @inline(__always) set { unsafe state.pointee.isTracked = newValue }
    }
    /// The host may have changed its mind about that.
    var asksForTracking: Bool {
        @inline(__always) get { unsafe state.pointee.asksForTracking }
        @inline(__always) set { unsafe state.pointee.asksForTracking = newValue }
    }
    /// No command is begun for the time being.
    var isPaused: Bool {
        @inline(__always) get { unsafe state.pointee.isPaused }
        @inline(__always) set { unsafe state.pointee.isPaused = newValue }
    }
    /// Counts what may give a turn something to do: writes to registers, INTx serviced.
    package var wakeCount: UInt64 {
        @inline(__always) get { unsafe state.pointee.wakeCount }
        @inline(__always) set { unsafe state.pointee.wakeCount = newValue }
    }
    /// No memory can be copied until the client has been answered; the next turn tries again.
    var isInterrupted: Bool {
        @inline(__always) get { unsafe state.pointee.isInterrupted }
        @inline(__always) set { unsafe state.pointee.isInterrupted = newValue }
    }
    /// There may be an event to tell of, and somebody who asked.
    var mayReport: Bool {
        @inline(__always) get { unsafe state.pointee.mayReport }
        @inline(__always) set { unsafe state.pointee.mayReport = newValue }
    }
}
