internal import SystemPackage
internal import VFIOUserClient

/// How a queue tells the controller of new tails and heads.
struct QueueDoorbells {
    /// The registers in memory that the server shares, if it does.
    private let submission: Doorbell?
    private let completion: Doorbell?
    /// Otherwise they are written by messages, to these places.
    private let client: Client
    private let offset: UInt64
    private let stride: UInt64

    /// - Parameter area: the mapped part of BAR0, if there is one; doorbells outside it are written by messages.
    init(_ queue: UInt16, stride: UInt64, client: Client, area: MappedRegion?) {
        self.client = client
        self.stride = stride
        offset = Register.doorbells + 2 * UInt64(queue) * stride
        let pair = area.flatMap { [offset] area in
            try? (area.doorbell(at: offset), area.doorbell(at: offset + stride))
        }
        submission = pair?.0
        completion = pair?.1
    }

    /// Whether ringing sends messages.
    var sendsMessages: Bool { submission == nil }

    @inline(__always)
    func ringSubmission(_ tail: UInt32) throws(NVMeError) {
        if let submission { submission.ring(tail) } else { try post(tail, offset) }
    }

    @inline(__always)
    func ringCompletion(_ head: UInt32) throws(NVMeError) {
        if let completion { completion.ring(head) } else { try post(head, offset &+ stride) }
    }

    @inline(never)
    private func post(_ value: UInt32, _ place: UInt64) throws(NVMeError) {
        try connection { () throws(Errno) in try client.post(value, to: .bar0, at: place) }
    }
}
