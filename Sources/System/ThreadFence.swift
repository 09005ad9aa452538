internal import CLinux
internal import Synchronization

/// A memory barrier in all threads of the process, paid for by the one that asks for it (Linux's membarrier).
///
/// It lets others do without one: what they stored before a load that did not see this thread's store yet is
/// visible to everybody when ``issue()`` returns.
package enum ThreadFence {
    /// Registers the process; false where the kernel does not offer it.
    package static func prepare() -> Bool { clx_fence_threads(1) == 0 }

    /// The barrier; where the kernel offers none, or there is no other thread, of this thread only.
    package static func issue() {
        atomicMemoryFence(ordering: .sequentiallyConsistent)
        _ = clx_fence_threads(0)
    }
}
