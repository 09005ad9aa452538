import Glibc
import NVMeController
@testable import NVMeStores
import SystemPackage
import Testing

/// Requests of many parts, and servers that are slow or go between them.
struct NBDPartsTests {
    /// Has a store and its server exchange what they have for each other.
    private func exchange(_ driver: StoreDriver, _ server: NBDHand) {
        var count = -1
        var rest = 3
        while rest > 0 {
            driver.reap(wait: false)
            server.receive()
            rest = server.requests.count == count ? rest - 1 : 3
            count = server.requests.count
            usleep(1000)
        }
    }

    @Test(arguments: [StoreRequest.Operation.deallocate, .writeZeroes(mayDeallocate: true)])
    func `of a large range few parts are with the server at once`(
        operation: StoreRequest.Operation
    ) throws {
        let (part, type): (UInt64, UInt16) =
            if case .deallocate = operation { (1 << 30, NBDHand.trim) } else { (256 << 10, NBDHand.write) }
        let server = try NBDHand(byteCount: part * 201, NBDHand.flags | NBDHand.canFlush | NBDHand.canTrim)
        let driver = StoreDriver(try NBDStore(uri: server.uri))
        driver.start(operation, at: part / 2, count: part * 200)
        var (most, end) = (0, part / 2)
        while driver.store.pendingCount > 0 {
            exchange(driver, server)
            most = max(most, server.requests.count)
            guard let request = server.requests.first else { break }
            #expect(request.type == type && request.offset == end)
            end += request.byteCount
            server.send(server.takeAnswer())
        }
        #expect(driver.store.pendingCount == 0 && server.requests.isEmpty)
        #expect(driver.outcomes.values.allSatisfy { $0 == nil })
        #expect(end == part / 2 + part * 200)
        #expect((2...8).contains(most))
    }

    @Test
    func `a range that fails has no more parts`() throws {
        let server = try NBDHand(byteCount: 1 << 40, NBDHand.flags | NBDHand.canTrim)
        let driver = StoreDriver(try NBDStore(uri: server.uri))
        driver.start(.deallocate, at: 0, count: 1 << 40)
        exchange(driver, server)
        server.send(server.takeAnswer(error: UInt32(EIO)))
        while !server.requests.isEmpty { server.send(server.takeAnswer()) }
        exchange(driver, server)
        #expect(driver.store.pendingCount == 0 && server.requests.isEmpty)
        #expect(driver.outcomes.values.map { $0 } == [.ioError])
    }

    @Test
    func `zeros are written in parts that the server takes`() throws {
        let server = try NBDServer.nbdkit(
            "--filter=nozero", "--filter=blocksize-policy", "memory", "4M", "blocksize-minimum=512",
            "blocksize-preferred=4k", "blocksize-maximum=16k", "blocksize-error-policy=error")
        let driver = StoreDriver(try NBDStore(uri: server.uri))
        var model = pattern(4 << 20, seed: 21)
        #expect(driver.run(.write(isDurable: false), at: 0, Buffer(model)) == nil)
        #expect(driver.run(.writeZeroes(mayDeallocate: false), at: 512, count: 3 << 20) == nil)
        model.replaceSubrange(512..<512 + 3 << 20, with: repeatElement(0, count: 3 << 20))
        #expect(try driver.read(at: 0, count: 4 << 20) == model)
    }

    @Test
    func `a server that answers parts slowly is kept`() throws {
        let server = try NBDHand(byteCount: 12 << 30, NBDHand.flags | NBDHand.canTrim)
        let store = try NBDStore(uri: server.uri, patience: .milliseconds(1500))
        var reports: [String] = []
        store.report = { reports.append($0) }
        let driver = StoreDriver(store)
        driver.start(.deallocate, at: 0, count: 12 << 30)
        for _ in 0..<12 {
            exchange(driver, server)
            guard !server.requests.isEmpty else { break }
            usleep(250_000)
            server.send(server.takeAnswer())
        }
        #expect(driver.finish(within: 10_000))
        #expect(driver.outcomes.values.allSatisfy { $0 == nil } && reports.isEmpty)
    }

    @Test
    func `an answer that was not looked at for long counts`() throws {
        let server = try NBDHand(byteCount: 1 << 20, NBDHand.flags | NBDHand.canFlush)
        let store = try NBDStore(uri: server.uri, patience: .milliseconds(300))
        var reports: [String] = []
        store.report = { reports.append($0) }
        let driver = StoreDriver(store)
        driver.start(.flush, at: 0)
        driver.start(.flush, at: 0)
        exchange(driver, server)
        server.send(server.takeAnswer() + server.takeAnswer())
        usleep(600_000)
        #expect(driver.finish(within: 10_000))
        #expect(driver.outcomes.values.allSatisfy { $0 == nil } && reports.isEmpty)
    }

    @Test
    func `a part that finds no connection is an error`() throws {
        let none = unsafe UnsafeMutableBufferPointer<iovec>(start: nil, count: 0)
        let request = unsafe StoreRequest(.flush, offset: 0, byteCount: 0, vectors: none, token: 0)
        var pool = RequestPool<NBDProgress>()
        // The request refers to the queue, which stays in place until the end of the test.
        let ended = UnsafeMutablePointer<RequestQueue<NBDProgress>>.allocate(capacity: 1)
        unsafe ended.initialize(to: RequestQueue())
        defer { unsafe ended.deallocate() }
        let pending = unsafe pool.take(request, NBDProgress(ended))
        unsafe NBDProgress.open(pending)
        unsafe NBDProgress.begin(pending) { _ in nil }
        #expect(unsafe ended.pointee.isEmpty)
        unsafe NBDProgress.close(pending)
        #expect(unsafe ended.pointee.takeFirst() == pending)
        #expect(unsafe pending.pointee.progress.error == .socketNotConnected)
        unsafe pool.giveBack(pending)
    }

    @Test
    func `a server that goes before the flush of a durable write is an error`() throws {
        let server = try NBDHand(byteCount: 1 << 20, NBDHand.flags | NBDHand.canFlush)
        let driver = StoreDriver(try NBDStore(uri: server.uri))
        driver.start(.write(isDurable: true), at: 0, Buffer([4096]))
        exchange(driver, server)
        // More than the socket takes: the store goes on with it after the answer, and then the server has gone.
        driver.start(.write(isDurable: false), at: 0, Buffer([1 << 20]))
        server.send(server.takeAnswer())
        server.end()
        #expect(driver.finish(within: 10_000))
        #expect(driver.outcomes.values.map { $0 } == [.socketNotConnected, .socketNotConnected])
    }
}
