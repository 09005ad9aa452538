import Glibc
import SystemPackage
import Testing
import VFIOUserWire

@testable import VFIOUserServer

/// Client memory used on threads of the device's own while its server serves requests. Those that change memory quiesce
/// the device first, at once or later. Most of what could go wrong is for ThreadSanitizer to see.
@Suite struct ThreadTests {
    static let pages = 16

    /// A thread of the device, which uses memory while it holds its lock: whoever has that has the thread stopped.
    ///
    /// Unsafe as ``Background`` is; the lock guards everything.
    @safe final class Worker {
        private let lock = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
        private let server: DeviceServer
        private let number: UInt64
        private var isStopped = false
        /// For the test's thread alone.
        private var isPaused = false
        private var turns = 0
        /// Which pages are mapped.
        var mapped = [Bool](repeating: false, count: pages)
        private(set) var complaints: [String] = []

        init(_ number: UInt64, _ server: DeviceServer) {
            self.number = number
            self.server = server
            unsafe pthread_mutex_init(lock, nil)
        }

        deinit {
            unsafe pthread_mutex_destroy(lock)
            unsafe lock.deallocate()
        }

        func locked<T>(_ body: () throws -> T) rethrows -> T {
            hold()
            defer { release() }
            return try body()
        }

        private func hold() { unsafe pthread_mutex_lock(lock) }

        private func release() { unsafe pthread_mutex_unlock(lock) }

        /// Has it stopped until ``resume()``.
        func pause() {
            hold()
            isPaused = true
        }

        func resume() {
            guard isPaused else { return }
            isPaused = false
            release()
        }

        /// Lets it work for a while.
        func wait() {
            let before = locked { turns }
            while locked({ turns }) == before { sched_yield() }
        }

        func stop() {
            resume()
            locked { isStopped = true }
        }

        /// What the thread does until it is stopped.
        func work() {
            var random = SeededGenerator(seed: number)
            while locked({ !isStopped }) {
                locked {
                    for _ in 0..<10 { use(Int.random(in: 0..<ThreadTests.pages, using: &random), &random) }
                    turns += 1
                }
                sched_yield()
            }
        }

        private func use(_ page: Int, _ random: inout SeededGenerator) {
            // Each thread has its own byte of a page.
            let address = UInt64(page) << 12 | number
            let byte = UInt8(truncatingIfNeeded: random.next())
            var result = Errno(rawValue: 0)
            do throws(Errno) {
                try server.writeClient(address, [byte])
                if try server.readClient(address, 1) != [byte] { result = .ioError }
            } catch { result = error }
            if result != (mapped[page] ? Errno(rawValue: 0) : .noSuchFileOrDirectory) {
                complaints.append("page \(page), mapped: \(mapped[page]): \(result)")
            }
        }
    }

    @Test(arguments: [false, true])
    func memoryComesAndGoes(later: Bool) throws {
        let session = try Session()
        let (device, server) = (session.device, session.server)
        let file = try File.memory(Self.pages << 12)
        let workers = [Worker(1, server), Worker(2, server)]
        let threads = workers.map { worker in Background { worker.work() } }
        if !later { device.duringQuiesce = { _ in workers.forEach { $0.pause() } } }
        defer {
            device.forgetHooks()
            workers.forEach { $0.stop() }
            threads.forEach { $0.join() }
            #expect(workers.flatMap(\.complaints) == [])
        }

        var mapped = [Bool](repeating: false, count: Self.pages)

        /// Carries out a request for which the device is quiesced; it goes on with what is mapped then.
        func change(_ command: Command, _ payload: [UInt8], _ files: [File] = []) throws {
            if later { device.quiesceAnswers = [.success(.pending)] }
            try session.peer.request(command, payload, files)
            if later {
                #expect(throws: Errno.resourceBusy) { try server.poll() }
                workers.forEach { $0.wait() }
                workers.forEach { $0.pause() }
                try server.quiesced()
            } else {
                #expect(try server.poll() == 1)
            }
            for worker in workers {
                worker.mapped = mapped
                worker.resume()
            }
            #expect(try session.peer.receive().error == nil)
        }

        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SeededGenerator(seed: seed)
        for _ in 0..<200 {
            workers.forEach { $0.wait() }
            let page = Int.random(in: 0..<Self.pages, using: &random)
            let address = UInt64(page) << 12
            if Int.random(in: 0..<8, using: &random) == 0 {
                try change(.deviceReset, [])
                continue
            }
            mapped[page].toggle()
            if mapped[page] {
                let map = DMAMap(
                    flags: [.read, .write, .mmap], offset: address, address: address, size: 4096)
                try change(.dmaMap, encoded(map), [file])
            } else {
                try change(.dmaUnmap, encoded(DMAUnmap(address: address, size: 4096)))
            }
        }
        #expect(file.contents(at: 0, count: Self.pages << 12).contains { $0 != 0 }, "seed \(seed)")
    }
}
