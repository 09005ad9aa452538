/// What failed, newest last (NVMe 1.4, 5.14.1.1).
struct ErrorLog {
    struct Entry {
        let count: UInt64
        let queue: UInt16
        let command: UInt16
        let status: UInt16
        let block: UInt64
        let namespace: UInt32
    }

    private var entries: [Entry] = []
    private var next = 0

    mutating func add(_ entry: Entry) {
        if entries.count < Limit.errorEntries {
            entries.append(entry)
        } else {
            entries[next] = entry
        }
        next = (next + 1) % Limit.errorEntries
    }

    /// Newest first.
    var bytes: [UInt8] {
        var page = DataPage(64 * Limit.errorEntries)
        for place in 0..<entries.count {
            let index = (next + 2 * Limit.errorEntries - 1 - place) % Limit.errorEntries
            guard entries.indices.contains(index) else { continue }
            let entry = entries[index]
            let base = 64 * place
            page.put(entry.count, at: base)
            page.put(entry.queue, at: base + 8)
            page.put(entry.command, at: base + 10)
            page.put(entry.status << 1, at: base + 12)
            page.put(UInt16.max, at: base + 14)  // not a particular field
            page.put(entry.block, at: base + 16)
            page.put(entry.namespace, at: base + 24)
        }
        return page.bytes
    }
}

extension NVMeController {
    /// Puts a failed command into the error log.
    ///
    /// - Returns: its status, which says that the log has more.
    @inline(never)
    func record(_ slot: Int, _ status: Status) -> Status {
        let queue = unsafe slots[slot].queue
        let entry = unsafe slots[slot].entry
        unsafe counters.pointee.errors &+= 1
        let status = Status(rawValue: status.rawValue | Status.more)
        errorLog.add(
            ErrorLog.Entry(
                count: unsafe counters.pointee.errors, queue: UInt16(truncatingIfNeeded: queue),
                command: entry.identifier, status: status.rawValue,
                block: queue != 0 ? entry.firstBlock : 0, namespace: entry.namespace))
        return status
    }

    /// Get Log Page (NVMe 1.4, 5.14).
    func getLogPage(_ slot: Int, _ entry: SubmissionEntry) {
        let page = UInt8(truncatingIfNeeded: entry.dword10)
        let dwords = (UInt64(entry.dword11 & 0xffff) << 16 | UInt64(entry.dword10 >> 16)) + 1
        let offset = UInt64(entry.dword13) << 32 | UInt64(entry.dword12)
        // None of them is of a namespace.
        guard offset & 3 == 0, entry.namespace == 0 || entry.namespace == everyNamespace else {
            return complete(slot, .invalidField)
        }
        let bytes: [UInt8]
        switch page {
        case 0x01: bytes = errorLog.bytes
        case 0x02: bytes = smartLog()
        case 0x03: bytes = firmwareLog()
        case 0x04: bytes = changedNamespaces()
        case 0x05: bytes = commandsEffects()
        default: return complete(slot, .invalidLogPage)
        }
        guard let start = Int(exactly: offset), start <= bytes.count else {
            return complete(slot, .invalidField)
        }
        // Behind the page's end there is nothing to read: zeros, as far as one command can carry them.
        guard dwords <= UInt64(Limit.transfer / 4) else { return complete(slot, .invalidField) }
        let count = Int(dwords) * 4
        var data = bytes[start...].prefix(count)
        if data.count < count { data += [UInt8](repeating: 0, count: count - data.count) }
        let resets = resetCount
        // Retain Asynchronous Event; and what the client has not got it has not read.
        guard deliver(slot, data), resets == resetCount, entry.dword10 >> 15 & 1 == 0 else { return }
        logPageWasRead(page)
        if page == 4 { events.changedNamespaces = [] }
    }

    private func smartLog() -> [UInt8] {
        var page = DataPage(512)
        let counters = statistics
        page.put(criticalWarning, at: 0)
        page.put(Features.temperature, at: 1)
        page.put(UInt8(100), at: 3)  // available spare
        page.put(UInt8(10), at: 4)  // its threshold
        // In thousands of 512 bytes, rounded up.
        page.put(counters.bytesRead / 512_000 + (counters.bytesRead % 512_000 == 0 ? 0 : 1), at: 32)
        page.put(counters.bytesWritten / 512_000 + (counters.bytesWritten % 512_000 == 0 ? 0 : 1), at: 48)
        page.put(counters.readCommands, at: 64)
        page.put(counters.writeCommands, at: 80)
        page.put(counters.powerCycles, at: 112)
        let hours = (ContinuousClock.now - startTime).components.seconds / 3600
        page.put(hours, at: 128)
        page.put(counters.unsafeShutdowns, at: 144)
        page.put(counters.mediaErrors, at: 160)
        page.put(counters.errors, at: 176)
        page.put(Features.temperature, at: 200)
        return page.bytes
    }

    private func firmwareLog() -> [UInt8] {
        var page = DataPage(512)
        page.put(UInt8(1), at: 0)
        page.put(configuration.firmware, at: 8, count: 8)
        return page.bytes
    }

    private func changedNamespaces() -> [UInt8] {
        var page = DataPage(4096)
        for (place, identifier) in events.changedNamespaces.prefix(1024).enumerated() {
            page.put(identifier, at: 4 * place)
        }
        return page.bytes
    }

    /// Which commands there are and what they change.
    private func commandsEffects() -> [UInt8] {
        var page = DataPage(4096)
        let supported: UInt32 = 1
        let changesContent: UInt32 = 1 << 1
        let changesNamespace: UInt32 = 1 << 2
        for opcode in AdminOpcode.allCases {
            if opcode == .doorbellBufferConfig, !configuration.offersShadowDoorbells { continue }
            let effects = opcode == .formatNVM ? changesContent | changesNamespace | 1 << 16 : 0
            page.put(supported | effects, at: 4 * Int(opcode.rawValue))
        }
        for opcode in NVMOpcode.allCases {
            let effects: UInt32
            switch opcode {
            case .write, .writeZeroes, .datasetManagement: effects = changesContent
            default: effects = 0
            }
            page.put(supported | effects, at: 1024 + 4 * Int(opcode.rawValue))
        }
        return page.bytes
    }
}
