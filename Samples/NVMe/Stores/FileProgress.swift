internal import CNVMeSystem
internal import Glibc
internal import NVMeController
internal import SystemPackage

/// How far a request to a file is: the operation that is next, and what follows from its result.
///
/// Unsafe inside: the vectors are the request's own, and stay in place until it is complete.
@safe
struct FileProgress: BitwiseCopyable {
    /// What the file system has been found not to be able to do.
    struct Inability {
        var punch = false
        var zero = false
    }

    /// What follows from a result.
    enum Outcome {
        /// There is another operation, or the same once more.
        case again
        case done
        case failed(Errno)
    }

    private var kind: nvmesys_kind
    /// Where the next operation begins; bytes.
    private var offset: UInt64
    /// What is not done yet; bytes.
    private var left: UInt64
    private var vectors: UnsafeMutableBufferPointer<iovec>
    private var isDirect = false
    /// A discard will do.
    private let isHint: Bool

    /// What O_DIRECT wants of addresses, offsets and lengths at most.
    private static let page: UInt64 = 4096
    /// Most vectors of one system call.
    private static let maxVectors = 1024

    init(_ request: StoreRequest, _ file: borrowing StoreFile, _ inability: Inability) {
        offset = request.offset
        left = request.byteCount
        unsafe vectors = unsafe request.vectors
        var isHint = false
        switch request.operation {
        case .read: kind = NVMESYS_READ
        case .write(let isDurable): kind = isDurable ? NVMESYS_WRITE_DURABLE : NVMESYS_WRITE
        case .flush: kind = NVMESYS_SYNC
        case .writeZeroes(let mayDeallocate): kind = mayDeallocate ? NVMESYS_PUNCH : NVMESYS_ZERO
        case .deallocate:
            kind = NVMESYS_PUNCH
            isHint = file.isBlockDevice
        }
        self.isHint = isHint
        isDirect = unsafe file.direct >= 0 && !vectors.isEmpty && isAligned
        skip(inability)
    }

    /// The operation that is next.
    var operation: nvmesys_operation {
        var operation = unsafe nvmesys_operation()
        unsafe operation.kind = kind
        unsafe operation.file = isDirect ? 1 : 0
        unsafe operation.offset = offset
        unsafe operation.length = kind == NVMESYS_WRITE_ZEROS ? min(left, UInt64(NVMESYS_ZEROS)) : left
        unsafe operation.vectors = unsafe vectors.baseAddress
        unsafe operation.vector_count = UInt32(min(vectors.count, Self.maxVectors))
        return unsafe operation
    }

    /// Takes the result of the operation: what the system call gave, or a negated errno value.
    mutating func advance(_ result: Int, _ inability: inout Inability) -> Outcome {
        if result < 0 { return advance(after: Errno(rawValue: CInt(clamping: -result)), &inability) }
        switch kind {
        case NVMESYS_READ, NVMESYS_WRITE, NVMESYS_WRITE_DURABLE, NVMESYS_WRITE_ZEROS: break
        default: return .done
        }
        // The file has become shorter, or the device ends.
        guard result > 0 else { return .failed(.ioError) }
        let moved = min(UInt64(result), left)
        left -= moved
        if left == 0 { return .done }
        offset += moved
        dropVectors(Int(moved))
        isDirect = isDirect && isAligned
        return .again
    }

    private mutating func advance(after error: Errno, _ inability: inout Inability) -> Outcome {
        switch error {
        case .interrupted, .resourceTemporarilyUnavailable: return .again
        case .invalidArgument where isDirect:
            // A file system may be stricter than a page.
            isDirect = false
            return .again
        case .notSupportedOnSocket, .noFunction, .operationNotSupportedByDevice, .invalidArgument:
            switch kind {
            case NVMESYS_PUNCH: inability.punch = true
            case NVMESYS_ZERO: inability.zero = true
            case NVMESYS_DISCARD: return .done
            default: return .failed(error)
            }
            skip(inability)
            return .again
        default: return .failed(error)
        }
    }

    /// From what cannot be done to what can.
    private mutating func skip(_ inability: Inability) {
        if kind == NVMESYS_PUNCH, inability.punch {
            kind = isHint ? NVMESYS_DISCARD : NVMESYS_ZERO
        }
        if kind == NVMESYS_ZERO, inability.zero { kind = NVMESYS_WRITE_ZEROS }
    }

    private var isAligned: Bool {
        var bits = offset | left
        for index in unsafe 0..<vectors.count {
            let vector = unsafe vectors[index]
            bits |= unsafe UInt64(UInt(bitPattern: vector.iov_base) | UInt(vector.iov_len))
        }
        return bits & (Self.page - 1) == 0
    }

    /// Drops what has been moved from the front of the vectors.
    private mutating func dropVectors(_ count: Int) {
        var rest = count
        var index = 0
        while unsafe index < vectors.count, unsafe rest >= vectors[index].iov_len {
            rest -= unsafe vectors[index].iov_len
            index += 1
        }
        unsafe vectors = UnsafeMutableBufferPointer(rebasing: vectors[index...])
        if rest > 0, unsafe !vectors.isEmpty {
            unsafe vectors[0].iov_base = unsafe vectors[0].iov_base.map { unsafe $0 + rest }
            unsafe vectors[0].iov_len -= rest
        }
    }
}
