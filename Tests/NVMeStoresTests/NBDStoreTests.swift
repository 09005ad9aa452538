import Glibc
import NVMeController
import NVMeStores
import SystemPackage
import Testing

struct NBDStoreTests {
    @Test(arguments: [
        [], ["--filter=nozero"], ["--filter=fua"], ["--filter=fua", "fuamode=native"],
        [
            "--filter=blocksize-policy", "blocksize-minimum=512", "blocksize-maximum=16k",
            "blocksize-preferred=4k",
        ],
        ["--filter=delay", "rdelay=5ms", "wdelay=5ms"],
    ])
    func `what is written is read`(filters: [String]) throws {
        let names = filters.filter { $0.hasPrefix("--") }
        let settings = filters.filter { !$0.hasPrefix("--") }
        let server = try NBDServer.nbdkit(names + ["memory", "1M"] + settings)
        let store = try NBDStore(uri: server.uri)
        #expect(store.byteCount == 1 << 20 && !store.isReadOnly)
        try playRandomly(
            StoreDriver(store), rounds: 6, granule: 512, seed: UInt64.random(in: 0...UInt64.max))
    }

    @Test
    func `qemu-nbd keeps what was flushed`() throws {
        let file = try ScratchFile(byteCount: 1 << 20)
        let server = try NBDServer.qemu(file.path, "--discard=unmap", "--cache=writeback")
        let store = try NBDStore(uri: server.uri)
        #expect(store.hasVolatileCache)
        let driver = StoreDriver(store)
        try playRandomly(driver, rounds: 4, granule: 512, seed: UInt64.random(in: 0...UInt64.max))
        let bytes = pattern(1 << 20, seed: 11)
        #expect(driver.run(.write(isDurable: false), at: 0, Buffer(bytes)) == nil)
        #expect(driver.run(.flush) == nil)
        server.end()
        #expect(try file.contents() == bytes)
    }

    @Test
    func `trimmed blocks take no room`() throws {
        let file = try ScratchFile(byteCount: 1 << 20)
        let server = try NBDServer.qemu(file.path, "--discard=unmap")
        let driver = StoreDriver(try NBDStore(uri: server.uri))
        #expect(driver.run(.write(isDurable: true), at: 0, Buffer(pattern(1 << 20, seed: 12))) == nil)
        let before = file.allocated()
        #expect(driver.run(.deallocate, at: 0, count: 1 << 19) == nil)
        #expect(driver.run(.flush) == nil)
        #expect(file.allocated() <= before - 1 << 19)
        #expect(!driver.store.zeroesWhenDeallocated)
    }

    @Test
    func `several requests are in flight`() throws {
        let server = try NBDServer.nbdkit("--threads=16", "--filter=delay", "memory", "1M", "rdelay=1")
        let driver = StoreDriver(try NBDStore(uri: server.uri))
        let start = ContinuousClock.now
        for place in 0..<16 { driver.start(.read, at: UInt64(place) * 4096, Buffer([4096])) }
        #expect(driver.store.pendingCount == 16)
        #expect(driver.finish(within: 30_000))
        #expect(ContinuousClock.now - start < .seconds(16))
        #expect(driver.outcomes.values.allSatisfy { $0 == nil })
    }

    @Test
    func `the server's errors are those of the requests`() throws {
        let full = try NBDServer.nbdkit(
            "--filter=error", "memory", "1M", "error-pwrite=ENOSPC", "error-pwrite-rate=100%",
            "error-pread=EIO", "error-pread-rate=100%")
        let driver = StoreDriver(try NBDStore(uri: full.uri))
        #expect(driver.run(.write(isDurable: false), at: 0, Buffer(pattern(8192, seed: 13))) == .noSpace)
        #expect(driver.run(.read, at: 0, Buffer([4096])) == .ioError)
        // Pieces that go by way of memory in between, and several requests.
        #expect(driver.run(.read, at: 0, Buffer([100, 412])) == .ioError)
        #expect(driver.run(.write(isDurable: true), at: 0, Buffer(pattern(8192, seed: 14))) == .noSpace)
        #expect(driver.run(.flush) == nil)
    }

    @Test
    func `an export that is not to be written to is not`() throws {
        let server = try NBDServer.nbdkit("--readonly", "memory", "1M")
        let store = try NBDStore(uri: server.uri)
        #expect(store.isReadOnly && !store.hasVolatileCache)
        let driver = StoreDriver(store)
        #expect(driver.run(.write(isDurable: false), at: 0, Buffer(pattern(512, seed: 15))) != nil)
        #expect(driver.run(.flush) == nil)
        #expect(try driver.read(at: 0, count: 512) == [UInt8](repeating: 0, count: 512))
        let writable = try NBDServer.nbdkit("memory", "1M")
        #expect(try NBDStore(uri: writable.uri, isReadOnly: true).isReadOnly)
    }

    @Test
    func `a server's least block is known`() throws {
        let server = try NBDServer.nbdkit(
            "--filter=blocksize-policy", "memory", "1M", "blocksize-minimum=4k", "blocksize-preferred=4k",
            "blocksize-error-policy=error")
        let store = try NBDStore(uri: server.uri)
        #expect(store.minimumBlockSize == 4096)
        try playRandomly(
            StoreDriver(store), rounds: 4, granule: 4096, seed: UInt64.random(in: 0...UInt64.max))
        #expect(StoreDriver(store).run(.read, at: 512, Buffer([512])) == .invalidArgument)
    }

    @Test
    func `a server that goes is an error, and one that comes back is used`() throws {
        let file = try ScratchFile(byteCount: 1 << 20)
        let server = try NBDServer.nbdkit("--filter=delay", "file", file.path, "rdelay=10")
        let store = try NBDStore(uri: server.uri)
        var reports: [String] = []
        store.report = { reports.append($0) }
        let driver = StoreDriver(store)
        #expect(driver.run(.write(isDurable: false), at: 0, Buffer(pattern(4096, seed: 16))) == nil)
        for place in 0..<8 { driver.start(.read, at: UInt64(place) * 4096, Buffer([4096])) }
        server.end()
        #expect(driver.finish(within: 30_000))
        #expect(driver.outcomes.values.count { $0 == .socketNotConnected } == 8)
        #expect(driver.run(.read, at: 0, Buffer([512])) == .socketNotConnected)
        try server.start()
        var outcome: Errno? = .socketNotConnected
        for _ in 0..<100 where outcome == .socketNotConnected {
            usleep(50_000)
            driver.reap(wait: false)
            outcome = driver.run(.write(isDurable: false), at: 4096, Buffer(pattern(4096, seed: 17)))
        }
        #expect(outcome == nil)
        // What it had not made durable may be gone: that has to be said, once.
        #expect(driver.run(.flush) == .ioError)
        #expect(driver.run(.flush) == nil)
        #expect(reports == ["the NBD server has gone", "the NBD server is back"])
    }

    @Test
    func `a server that says nothing is given up`() throws {
        let server = try NBDServer.nbdkit("memory", "1M")
        let store = try NBDStore(uri: server.uri, patience: .milliseconds(700))
        let driver = StoreDriver(store)
        server.pause()
        driver.start(.read, at: 0, Buffer([4096]))
        driver.start(.write(isDurable: true), at: 4096, Buffer([4096]))
        // Woken by the descriptor alone.
        #expect(driver.finish(within: 30_000))
        #expect(driver.outcomes.values.allSatisfy { $0 == .socketNotConnected })
        server.signal(SIGCONT)
    }

    @Test
    func `a store ends while its server says nothing`() throws {
        let server = try NBDServer.nbdkit("memory", "1M")
        let buffers = (0..<4).map { _ in Buffer([65_536]) }
        do {
            let driver = StoreDriver(try NBDStore(uri: server.uri, patience: .milliseconds(500)))
            server.pause()
            for buffer in buffers { driver.start(.read, at: 0, buffer) }
        }
        server.signal(SIGCONT)
        usleep(100_000)
        // Nothing was written to memory that is not the store's any more.
        #expect(buffers.allSatisfy { $0.bytes == [UInt8](repeating: 0xee, count: 65_536) })
    }

    @Test
    func `where there is no server that is said`() {
        let error = #expect(throws: NBDFailure.self) {
            try NBDStore(uri: "nbd+unix:///?socket=/nowhere/at/all")
        }
        #expect(error?.description.contains("No such file") == true)
        #expect(throws: NBDFailure.self) { try NBDStore(uri: "http://127.0.0.1/") }
    }
}
