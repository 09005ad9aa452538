internal import CLibnbd
internal import CNVMeSystem
internal import Glibc
internal import NVMeController
internal import SystemPackage

/// Requests as those of the NBD protocol.
extension NBDStore {
    /// Most pieces of client memory that are requests of their own: more are cheaper to copy.
    private static let mostPieces = 16
    /// Most bytes of one request that moves none: their length has 32 bits.
    private static let mostCleared: UInt64 = 1 << 30
    /// Most parts of a range without data that are with the server at once: there may be very many.
    private static let mostParts = 4

    /// Begins a round of a request's parts.
    func begin(_ pending: NBDProgress.Pointer) {
        unsafe NBDProgress.open(pending)
        switch unsafe pending.pointee.request.operation {
        case .write where unsafe pending.pointee.progress.isFlushing: unsafe flush(pending)
        case .read, .write: unsafe move(pending)
        case .flush: unsafe flush(pending)
        case .writeZeroes, .deallocate: unsafe clear(pending)
        }
        unsafe NBDProgress.close(pending)
    }

    private func flush(_ pending: NBDProgress.Pointer) {
        unsafe pending.pointee.progress.changes = unsafe state.pointee.changes
        unsafe NBDProgress.begin(pending) { unsafe state.pointee.connection?.flush($0) }
    }

    /// The next few parts of a range without data.
    private func clear(_ pending: NBDProgress.Pointer) {
        let request = unsafe pending.pointee.request
        for _ in 0..<Self.mostParts {
            let cleared = unsafe pending.pointee.progress.cleared
            let offset = request.offset + cleared
            let left = request.byteCount - cleared
            guard left > 0 else { return }
            let count: UInt64
            switch request.operation {
            case .writeZeroes(let mayDeallocate) where abilities.canZero:
                count = min(left, Self.mostCleared)
                unsafe NBDProgress.begin(pending) { done in
                    unsafe state.pointee.connection?.zero(
                        count, at: offset, mayDeallocate: mayDeallocate, done)
                }
            case .writeZeroes:
                count = min(left, UInt64(NVMESYS_ZEROS), abilities.maximum)
                unsafe NBDProgress.begin(pending) { done in
                    guard let zeros = unsafe nvmesys_zeros() else { return nil }
                    return unsafe state.pointee.connection?.write(
                        zeros, Int(count), at: offset, isDurable: false, done)
                }
            default:
                count = min(left, Self.mostCleared)
                unsafe NBDProgress.begin(pending) { done in
                    unsafe state.pointee.connection?.trim(count, at: offset, done)
                }
            }
            unsafe pending.pointee.progress.cleared += count
        }
    }

    /// Data, from or into the client's memory where that can be.
    private func move(_ pending: NBDProgress.Pointer) {
        let vectors = unsafe pending.pointee.request.vectors
        let granule = max(512, minimumBlockSize)
        var isWhole = vectors.count <= Self.mostPieces
        for index in 0..<vectors.count where unsafe vectors[index].iov_len % granule != 0 { isWhole = false }
        var offset = unsafe pending.pointee.request.offset
        if isWhole {
            for index in 0..<vectors.count {
                let count = unsafe vectors[index].iov_len
                unsafe move(pending, vectors[index].iov_base, count, at: offset)
                offset += UInt64(count)
            }
            return
        }
        let count = unsafe Int(pending.pointee.request.byteCount)
        let bounce = unsafe state.pointee.bounces.take(count)
        unsafe pending.pointee.progress.bounce = bounce
        if case .write = unsafe pending.pointee.request.operation {
            unsafe copy(pending, bounce, toClient: false)
        }
        unsafe move(pending, bounce, count, at: offset)
    }

    private func move(
        _ pending: NBDProgress.Pointer, _ memory: UnsafeMutableRawPointer?, _ count: Int, at start: UInt64
    ) {
        guard var memory = unsafe memory else { return }
        var offset = start
        var left = count
        while left > 0 {
            let part = min(left, Int(clamping: abilities.maximum))
            unsafe NBDProgress.begin(pending) { done in
                if case .write(let isDurable) = unsafe pending.pointee.request.operation {
                    let flag = isDurable && abilities.canWriteDurably
                    return unsafe state.pointee.connection?.write(
                        memory, part, at: offset, isDurable: flag, done)
                }
                return unsafe state.pointee.connection?.read(memory, part, at: offset, done)
            }
            unsafe memory += part
            offset += UInt64(part)
            left -= part
        }
    }

    /// Between the memory in between, which has room for all of a request, and the client's.
    private func copy(_ pending: NBDProgress.Pointer, _ bounce: UnsafeMutableRawPointer, toClient: Bool) {
        let vectors = unsafe pending.pointee.request.vectors
        var place = unsafe bounce
        for index in 0..<vectors.count {
            let vector = unsafe vectors[index]
            if toClient {
                unsafe memcpy(vector.iov_base, place, vector.iov_len)
            } else {
                unsafe memcpy(place, vector.iov_base, vector.iov_len)
            }
            unsafe place += vector.iov_len
        }
    }

    /// The parts of a round are over.
    ///
    /// - Returns: whether the request has another round.
    func goesOn(_ pending: NBDProgress.Pointer) -> Bool {
        let error = unsafe pending.pointee.progress.error
        let bounce = unsafe pending.pointee.progress.bounce
        switch unsafe pending.pointee.request.operation {
        case .read:
            if error == nil, let bounce = unsafe bounce { unsafe copy(pending, bounce, toClient: true) }
        case .write(let isDurable):
            guard unsafe !pending.pointee.progress.isFlushing else { break }
            if error == nil { unsafe state.pointee.changes += 1 }
            // All of them are written: now they become durable.
            guard error == nil, isDurable, !abilities.canWriteDurably, abilities.canFlush else { break }
            unsafe pending.pointee.progress.isFlushing = true
            return true
        case .flush:
            if error == nil {
                unsafe state.pointee.flushed = max(state.pointee.flushed, pending.pointee.progress.changes)
            }
        case .writeZeroes, .deallocate:
            if error == nil, unsafe pending.pointee.progress.cleared < pending.pointee.request.byteCount {
                return true
            }
            if error == nil { unsafe state.pointee.changes += 1 }
        }
        if let bounce = unsafe bounce {
            unsafe state.pointee.bounces.giveBack(bounce, Int(pending.pointee.request.byteCount))
        }
        return false
    }
}

/// Memory between servers and clients. What has been used once is used again.
///
/// Unsafe inside: every piece is either here or somebody's.
@safe
struct BouncePool: ~Copyable {
    private var free: [UnsafeMutableRawPointer] = unsafe []
    /// Bytes of the largest transfer of the controller.
    private static let usual = 1 << 20

    /// Room for at least so many bytes.
    mutating func take(_ count: Int) -> UnsafeMutableRawPointer {
        if count <= Self.usual, let present = unsafe free.popLast() { return unsafe present }
        return .allocate(byteCount: max(count, Self.usual), alignment: 4096)
    }

    mutating func giveBack(_ memory: UnsafeMutableRawPointer, _ count: Int) {
        if count <= Self.usual { unsafe free.append(memory) } else { unsafe memory.deallocate() }
    }

    deinit { for index in unsafe free.indices { unsafe free[index].deallocate() } }
}
