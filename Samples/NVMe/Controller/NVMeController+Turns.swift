extension NVMeController {
    /// Takes turns of ``process(budget:)`` until there is nothing to do.
    ///
    /// A turn that did nothing is not the last if the client wrote a register in the middle of it, where the host lets it:
    /// the turn may have looked at that register before.
    ///
    /// - Parameter limit: turns at most.
    /// - Returns: whether anything was done, and whether there may be more to do that nobody will tell of.
    public func processAll(limit: Int) -> (hasWorked: Bool, mayHaveMore: Bool) {
        var hasWorked = false
        for _ in 0..<limit {
            let wakes = wakeCount
            let count = process()
            if count > 0 { hasWorked = true }
            // The client's request comes first, or those who have to be done before it.
            if wasInterrupted { return (hasWorked, !isPaused) }
            if count == 0, wakes == wakeCount { return (hasWorked, false) }
        }
        return (hasWorked, true)
    }
}
