import Glibc
import NVMeController
import NVMeStores
import SystemPackage

/// A store whose requests are done when it is asked for them, newest first; or at once.
@safe
final class LateStore: BackingStore {
    private let store: MemoryStore
    let isLate: Bool
    var hasVolatileCache: Bool { true }
    var isReadOnly: Bool { false }
    var byteCount: UInt64 { store.byteCount }
    private var waiting: [StoreRequest] = []
    var failure: Errno?
    /// Nothing is done until somebody waits.
    var isHeld = false
    var flushes = 0
    var durableWrites = 0
    var pendingCount: Int { waiting.count }

    init(byteCount: UInt64, isLate: Bool = true) throws {
        store = try MemoryStore(byteCount: byteCount)
        self.isLate = isLate
    }

    func start(_ request: StoreRequest) -> StoreAnswer {
        switch request.operation {
        case .flush: flushes += 1
        case .write(let isDurable): if isDurable { durableWrites += 1 }
        default: break
        }
        guard isLate else { return failure.map { .failed($0) } ?? store.start(request) }
        waiting.append(request)
        return .pending
    }

    func reap(wait: Bool, _ completed: (UInt32, Errno?) -> Void) {
        guard wait || !isHeld else { return }
        let list = waiting
        waiting = []
        for request in list.reversed() {
            guard failure == nil, case .done = store.start(request) else {
                completed(request.token, failure ?? .ioError)
                continue
            }
            completed(request.token, nil)
        }
    }
}
