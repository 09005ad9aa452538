/// A Format NVM command that was accepted.
struct Formatting {
    let slot: Int
    /// Their places.
    let namespaces: Range<Int>
    /// Base 2 logarithm of the block size there will be.
    let shift: UInt64
    var phase = Phase.waiting

    enum Phase {
        /// For what stores have pending of before.
        case waiting
        case zeroing
        case flushing
    }
}

/// Format NVM: another block size, and everything reads as zeros (NVMe 1.4, 5.23).
///
/// That may take minutes, which nobody is made to wait for. It uses no client memory, so it goes on while memory changes,
/// and also after a reset; until it has ended the namespace's commands are answered with Format In Progress.
extension NVMeController {
    func format(_ slot: Int, _ entry: SubmissionEntry) {
        let format = Int(entry.dword10 & 0xf)
        let erase = entry.dword10 >> 9 & 7
        guard entry.namespace >= 1,
            entry.namespace <= UInt32(namespaceCount) || entry.namespace == everyNamespace
        else { return complete(slot, .invalidNamespace) }
        // No metadata, hence no protection information; where either would be does not matter then.
        guard format < Namespace.formats.count, entry.dword10 & 0xe0 == 0 else {
            return complete(slot, .invalidFormat)
        }
        // No, or user data erase; nothing is encrypted.
        guard erase <= 1 else { return complete(slot, .invalidField) }
        let shift = Namespace.formats[format]
        let chosen =
            entry.namespace == everyNamespace
            ? 0..<namespaceCount : Int(entry.namespace) - 1..<Int(entry.namespace)
        for place in chosen {
            guard unsafe !namespaces[place].isReadOnly else { return complete(slot, .writeProtected) }
            guard unsafe namespaces[place].offers(shift) else { return complete(slot, .invalidFormat) }
        }
        // One at a time.
        guard formatting == nil else { return complete(slot, .formatInProgress) }
        formatting = Formatting(slot: slot, namespaces: chosen, shift: shift)
        for place in chosen { unsafe namespaces[place].isFormatting = true }
        due.insert(.format)
        beginFormat()
    }

    /// Begins to zero, once stores are done with what they were given before.
    func beginFormat() {
        guard isRunning, !isPaused, let formatting else { return }
        for place in formatting.namespaces {
            guard unsafe namespaces[place].store.pendingCount == 0 else { return }
        }
        due.remove(.format)
        self.formatting?.phase = .zeroing
        let slot = formatting.slot
        unsafe slots[slot].ending = .format
        for place in formatting.namespaces {
            unsafe issue(slot, place, .writeZeroes(mayDeallocate: true), 0, namespaces[place].capacity)
        }
        settle(slot)
    }

    /// Stores have zeroed, or flushed.
    func endFormat(_ slot: Int) {
        guard let formatting else { return complete(slot, .internalError) }
        let status = unsafe slots[slot].status
        // After a reset nobody is told that it is durable.
        if status.isSuccess, formatting.phase == .zeroing, unsafe slots[slot].resetCount == resetCount {
            self.formatting?.phase = .flushing
            for place in formatting.namespaces where unsafe namespaces[place].isVolatile {
                issue(slot, place, .flush, 0, 0)
            }
            return settle(slot)
        }
        self.formatting = nil
        for place in formatting.namespaces {
            unsafe namespaces[place].isFormatting = false
            guard status.isSuccess, unsafe namespaces[place].blockShift != formatting.shift else { continue }
            unsafe namespaces[place].blockShift = formatting.shift
            namespaceChanged(UInt32(place + 1))
        }
        complete(slot, status)
    }

    /// A reset comes before it has begun: as if it had never been asked for.
    func forgetFormat() {
        guard let formatting, formatting.phase == .waiting else { return }
        self.formatting = nil
        for place in formatting.namespaces { unsafe namespaces[place].isFormatting = false }
        release(slot: formatting.slot)
    }

    /// Whether all that the store of a namespace has pending is a format's.
    func isOnlyFormatting(_ place: Int) -> Bool {
        guard let formatting, formatting.phase != .waiting else { return false }
        return formatting.namespaces.contains(place)
    }
}
