package import NVMeController
import NVMeStores
package import SystemPackage

/// A store whose requests are done when it is asked for them, newest first; or at once.
@safe
package final class LateStore: BackingStore {
    private let store: MemoryStore
    package let isLate: Bool
    package var hasVolatileCache: Bool { true }
    package var isReadOnly: Bool { false }
    package var byteCount: UInt64 { store.byteCount }
    private var waiting: [StoreRequest] = []
    package var failure: Errno?
    /// Nothing is done until somebody waits.
    package var isHeld = false
    package private(set) var flushes = 0
    package private(set) var durableWrites = 0
    package var pendingCount: Int { waiting.count }

    package init(byteCount: UInt64, isLate: Bool = true) throws {
        store = try MemoryStore(byteCount: byteCount)
        self.isLate = isLate
    }

    package func start(_ request: StoreRequest) -> StoreAnswer {
        switch request.operation {
        case .flush: flushes += 1
        case .write(let isDurable): if isDurable { durableWrites += 1 }
        default: break
        }
        guard isLate else { return failure.map { .failed($0) } ?? store.start(request) }
        waiting.append(request)
        return .pending
    }

    package func reap(wait: Bool, _ completed: (UInt32, Errno?) -> Void) {
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
