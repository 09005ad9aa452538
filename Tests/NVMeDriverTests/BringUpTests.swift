import NVMePCI
import SystemPackage
import Testing
import VFIOUserClient
import VFIOUserServer

@testable import NVMeDriver

/// From the connection to the shutdown.
struct BringUpTests {
    @Test(arguments: NVMeServer.Mode.allCases) func identifies(_ mode: NVMeServer.Mode) throws {
        let server = try NVMeServer(mode)
        let controller = try server.connect(.test(mode.memory))
        #expect(controller.memoryMode == mode.memory)
        #expect(controller.hasMappedDoorbells)
        #expect(controller.queueCount == 4)
        #expect(controller.maxQueueEntries == 4096 && controller.maxTransfer == 1 << 20)
        let identity = controller.identity
        #expect(identity.serialNumber == "TEST" && identity.model == "vfio-user NVMe controller")
        #expect(identity.subsystemName.hasPrefix("nqn.2014-08.org.nvmexpress:"))
        #expect(identity.version == 0x1_0400 && identity.namespaceCount == 1)
        #expect(try controller.namespaceIdentifiers() == [1])
        let namespace = try controller.namespace(1)
        #expect(namespace.blockCount == 16384 && namespace.blockSize == 512)
        #expect(namespace.byteCount == 8 << 20 && !namespace.isReadOnly)
        for identifier in [0, 2, .max] as [UInt32] {
            #expect(throws: NVMeError.unsupported(.namespace(identifier))) {
                _ = try controller.namespace(identifier)
            }
        }
        try controller.shutDown()
        #expect(throws: NVMeError.connection(.socketNotConnected)) { try controller.namespaceIdentifiers() }
        #expect(server.unsafeShutdowns == 0)
    }

    @Test func withoutShutdown() throws {
        let server = try NVMeServer()
        _ = try server.connect(.test())
        #expect(server.unsafeShutdowns == 1)
    }

    @Test func modes() throws {
        let capable = try NVMeServer(.opaque)
        try withController(capable, .test(nil)) { #expect($0.memoryMode == .ioas) }
        let old = try NVMeServer(policy: .off)
        try withController(old, .test(nil)) { #expect($0.memoryMode == .legacy) }
        let refusing = try NVMeServer(policy: .off)
        defer { refusing.end() }
        #expect(throws: NVMeError.unsupported(.ioas)) { _ = try refusing.connect(.test(.ioas)) }
    }

    @Test func bounds() throws {
        let options = DriverOptions.test {
            $0.maxTransfer = 8192
            $0.queueCount = 2
        }
        try withController(NVMeServer(isReadOnly: true), options) { controller in
            #expect(controller.maxTransfer == 8192 && controller.queueCount == 2)
            let namespace = try controller.namespace(1)
            #expect(namespace.isReadOnly)
            for entries in [-1, 0, 1, 4097, .max] {
                #expect(throws: NVMeError.invalidArgument) {
                    _ = try controller.makeQueuePair(entries: entries)
                }
            }
            #expect(throws: NVMeError.connection(.invalidArgument)) { _ = try controller.makeBuffer(0) }
        }
    }

    /// What is not offered is said, not tried.
    @Test func sgls() throws {
        try withController(NVMeServer(), .test { $0.usesSGL = true }) { controller in
            guard !controller.identity.takesSGLs else { return }
            #expect(throws: NVMeError.unsupported(.sgls)) { _ = try controller.makeQueuePair(entries: 8) }
        }
    }

    @Test func errorsAreWords() {
        #expect("\(NVMeError.command(CommandStatus(rawValue: 0x4080)))".contains("LBA out of range"))
        #expect("\(NVMeError.command(CommandStatus(rawValue: 0x07ff)))".contains("type 7, code 0xff"))
        #expect("\(NVMeError.connection(.socketNotConnected))" == "the server has closed the connection")
        #expect(CommandStatus(rawValue: 1 << 14).mustNotRetry && CommandStatus(rawValue: 1 << 14).isSuccess)
    }
}
