/// Asynchronous events (NVMe 1.4, 5.2).
struct AsyncEvents {
    /// OAES: changes of namespaces are told of.
    static let offered: UInt32 = 1 << 8

    /// Commands that wait for an event.
    var requests: [UInt16] = []
    /// Events nobody was told of yet, oldest first.
    var pending: [AsyncEvent] = []
    /// Types that were told of, until their log page is read, by bits.
    var masked: UInt8 = 0
    /// Namespaces that changed since the client asked, ascending.
    var changedNamespaces: [UInt32] = []
}

/// One kind of event: type, information, and the log page that says more.
struct AsyncEvent: Equatable {
    let type: UInt8
    let information: UInt8
    let logPage: UInt8

    static let invalidDoorbellRegister = AsyncEvent(type: 0, information: 0, logPage: 1)
    static let invalidDoorbellValue = AsyncEvent(type: 0, information: 1, logPage: 1)
    static let temperature = AsyncEvent(type: 1, information: 1, logPage: 2)
    static let namespaceChanged = AsyncEvent(type: 2, information: 0, logPage: 4)

    var result: UInt32 { UInt32(type) | UInt32(information) << 8 | UInt32(logPage) << 16 }
}

extension NVMeController {
    /// Remembers an event for the next request; each kind once.
    @inline(never)
    func report(_ event: AsyncEvent) {
        guard isRunning, !events.pending.contains(event) else { return }
        events.pending.append(event)
        mayReport = true
    }

    /// Asynchronous Event Request: completed when there is something to tell.
    func requestEvent(_ slot: Int, _ entry: SubmissionEntry) {
        guard events.requests.count < Limit.eventRequests else {
            return complete(slot, .tooManyEventRequests)
        }
        events.requests.append(entry.identifier)
        mayReport = true
        // It holds neither a slot nor a place in the completion queue while it waits.
        release(slot: slot)
        unsafe completions[0].room &+= 1
    }

    /// Completes requests with events, of types that are not masked, while the admin queue has room.
    func deliverEvents() {
        // A queue that messages reach cannot be written while the server waits for the device to quiesce.
        guard isRunning, !isPaused else { return }
        mayReport = false
        var place = 0
        while place < events.pending.count, !events.requests.isEmpty {
            let event = events.pending[place]
            guard events.masked >> event.type & 1 == 0 else {
                place += 1
                continue
            }
            if unsafe completions[0].room == 0 { refreshHead(0) }
            guard unsafe completions[0].room > 0 else {
                mayReport = true
                return
            }
            guard canPost(to: 0) else { break }
            // refreshHead may have added an event, never removed one.
            events.pending.remove(at: place)
            events.masked |= 1 << event.type
            let resets = resetCount
            unsafe completions[0].room &-= 1
            post(0, events.requests.removeFirst(), .success, event.result)
            guard resets == resetCount else { return }
        }
    }

    /// The client has read a log page: the events it belongs to can be told of again.
    func logPageWasRead(_ page: UInt8) {
        mayReport = true
        switch page {
        case 1: events.masked &= ~1
        case 2: events.masked &= ~2
        case 4: events.masked &= ~4
        default: break
        }
    }

    func namespaceChanged(_ identifier: UInt32) {
        if !events.changedNamespaces.contains(identifier) {
            events.changedNamespaces.append(identifier)
            events.changedNamespaces.sort()
        }
        if features.events & AsyncEvents.offered != 0 { report(.namespaceChanged) }
    }

    /// Critical warnings of SMART: only the temperature can be out of bounds, by thresholds the client chooses.
    var criticalWarning: UInt8 {
        let isOut =
            Features.temperature >= features.overThreshold || Features.temperature <= features.underThreshold
        return isOut ? 1 << 1 : 0
    }

    func checkTemperature() {
        if criticalWarning & UInt8(truncatingIfNeeded: features.events) & 2 != 0 { report(.temperature) }
    }
}
