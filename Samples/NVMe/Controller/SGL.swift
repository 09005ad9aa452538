/// An entry of a scatter-gather list: 16 bytes (NVMe 1.4, 4.4).
struct SGLDescriptor: BitwiseCopyable {
    let address: UInt64
    private let rest: UInt64

    init(_ address: UInt64, _ rest: UInt64) {
        self.address = address
        self.rest = rest
    }

    var length: UInt32 { UInt32(truncatingIfNeeded: rest) }
    /// Of those that the PCI transport has. Other types, and addresses that are offsets, are not offered.
    var kind: Kind? { Kind(rawValue: UInt8(truncatingIfNeeded: rest >> 56)) }

    /// Type in bits 7:4, subtype in 3:0.
    enum Kind: UInt8 {
        case dataBlock = 0x00
        case bitBucket = 0x10
        case segment = 0x20
        case lastSegment = 0x30

        var isSegment: Bool { self == .segment || self == .lastSegment }
    }

    static let byteCount = 16
}

extension NVMeController {
    /// What is offered (Identify Controller, SGLS): any alignment, bit buckets, a metadata pointer that names a list of
    /// one entry: no namespace has metadata to be found there. A list must be as long as the data.
    static let scatterGatherSupport: UInt32 = 1 | 1 << 16 | 1 << 19

    /// Collects the ranges of a command's scatter-gather list, as ``collect(_:_:toClient:)``.
    ///
    /// A list has at most ``Limit/descriptors`` entries, those that lead to other segments included.
    @inline(never)
    func collectSGL(_ slot: Int, _ count: Int, toClient: Bool) -> Status {
        var left = count
        let own = unsafe SGLDescriptor(slots[slot].entry.prp1, slots[slot].entry.prp2)
        guard let kind = own.kind else { return .invalidSGLType }
        if kind.isSegment {
            let status = followSegments(slot, from: own, &left, toClient)
            guard status.isSuccess else { return status }
        } else {
            let status = take(own, slot, &left, toClient)
            guard status.isSuccess else { return status }
        }
        return left == 0 ? .success : .invalidSGLLength
    }

    private func followSegments(
        _ slot: Int, from first: SGLDescriptor, _ left: inout Int, _ toClient: Bool
    ) -> Status {
        var segment = first
        var budget = Limit.descriptors
        while true {
            guard segment.address & 7 == 0, segment.length > 0,
                segment.length % UInt32(SGLDescriptor.byteCount) == 0
            else { return .invalidSGLSegment }
            let total = Int(segment.length) / SGLDescriptor.byteCount
            guard total <= budget else { return .invalidSGLCount }
            budget -= total
            var next: SGLDescriptor?
            let status = walk(segment, total, slot, &left, toClient, &next)
            guard status.isSuccess else { return status }
            // A last segment leads nowhere; any other has to.
            guard segment.kind != .lastSegment else { return .success }
            guard let next else { return .invalidSGLSegment }
            segment = next
        }
    }

    /// Goes through the `total` entries of a segment.
    private func walk(
        _ segment: SGLDescriptor, _ total: Int, _ slot: Int, _ left: inout Int, _ toClient: Bool,
        _ next: inout SGLDescriptor?
    ) -> Status {
        let perPage = Limit.pageSize / SGLDescriptor.byteCount
        var done = 0
        while done < total {
            let count = min(total - done, perPage)
            let (address, wraps) = segment.address.addingReportingOverflow(
                UInt64(done * SGLDescriptor.byteCount))
            let resets = resetCount
            guard !wraps,
                unsafe copyIn(address, to: listScratch, count: count * SGLDescriptor.byteCount),
                resets == resetCount
            else { return .dataTransferError }
            for place in 0..<count {
                // Below the entries of a page.
                let entry = unsafe listScratch.load(
                    fromByteOffset: place * SGLDescriptor.byteCount, as: SGLDescriptor.self)
                guard let kind = entry.kind else { return .invalidSGLType }
                guard kind.isSegment else {
                    let status = take(entry, slot, &left, toClient)
                    guard status.isSuccess else { return status }
                    continue
                }
                if segment.kind == .lastSegment { return .invalidSGLSegment }
                guard done + place == total - 1 else { return .invalidSGLCount }
                next = entry
            }
            done += count
        }
        return .success
    }

    /// A data block, or what is dropped on the way to the client. In the other direction a bit bucket means nothing.
    private func take(
        _ entry: SGLDescriptor, _ slot: Int, _ left: inout Int, _ toClient: Bool
    ) -> Status {
        let isDiscarded = entry.kind == .bitBucket
        let length = Int(entry.length)
        if length == 0 || (isDiscarded && !toClient) { return .success }
        guard length <= left else { return .invalidSGLLength }
        guard append(slot, entry.address, length, isDiscarded: isDiscarded) else { return .invalidSGLCount }
        left -= length
        return .success
    }
}
