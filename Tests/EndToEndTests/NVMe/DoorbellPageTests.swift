import Glibc
import NVMeController
import NVMePCI
import SystemPackage
import Testing
import VFIOUserClient
import VFIOUserServer

/// The page of doorbells, which clients map and may keep.
struct DoorbellPageTests {
    /// The first client keeps its mapping, and writes to it when the next one is there: its doorbells are its own.
    @Test func anEarlierClientIsNotHeard() throws {
        try NVMeUnderTest.run(.legacy, doorbells: .mmap, .path) { host, rig in
            let kept = try #require(rig.doorbells)
            try succession(host, rig, kept.memory) { client in try client.mapRegion(.bar0).memory }
        }
    }

    /// The same of the shadow memory of eventfds.
    @Test func norByShadowMemory() throws {
        let notifier = try InterruptListener()
        let eventFD = notifier.descriptor
        try NVMeUnderTest.run(.legacy, doorbells: .ioeventfd, notifier: eventFD, .path) { host, rig in
            func shadow(_ client: Client) throws -> MappedMemory {
                let entries = try client.regionIOFDs(.bar0)
                let first = try #require(entries.first { $0.offset == 0x1000 })
                #expect(entries.count == 2 * (ControllerConfiguration().queuePairs + 1))
                #expect(first.kind == .shadowIOEventFD)
                return try MappedMemory(
                    sharing: #require(first.shadowFile).descriptor, offset: first.shadowOffset, count: 4096)
            }
            try succession(host, rig, shadow(rig.client), shadow)
        }
    }

    private func succession(
        _ host: Host, _ rig: Rig, _ kept: MappedMemory, _ page: (Client) throws -> MappedMemory
    ) throws {
        try rig.enable()
        try rig.createQueues()
        #expect(try rig.call(rig.io(2), on: 1) == 0)
        // Heard as long as it is attached: an entry of zeros, a Flush of no namespace.
        try kept.storeReleasing(2 as UInt32, at: 8)
        #expect(try rig.take(1) == 0xb)
        rig.client.close()
        for round in 1...3 {
            let next = try host.connect(.patient)
            defer { next.close() }
            let second = try Rig(next, .legacy, isMapped: rig.doorbells != nil)
            let fresh = try page(next)
            #expect(try fresh.load(at: 8) as UInt32 == 0)
            try second.enable()
            try second.createQueues()
            #expect(try second.call(second.io(2), on: 1) == 0)
            // Were it heard, entries behind the tail would be carried out.
            try kept.storeReleasing(UInt32(40 + round), at: 8)
            #expect(try second.take(1, seconds: 0) == nil)
            #expect(try second.admin(6, 1) == 0)
            #expect(try second.take(1, seconds: 0) == nil)
            #expect(try second.call(second.io(2), on: 1) == 0)
            // Nor does it see what the others write.
            #expect(try kept.load(at: 8) as UInt32 == UInt32(40 + round))
            // The page is the controller's own.
            try fresh.storeReleasing(3 as UInt32, at: 8)
            #expect(try second.take(1) == 0xb)
        }
    }

    /// A client cannot seal it, and with that take it from the next ones.
    @Test func sealing() throws {
        try NVMeUnderTest.run(doorbells: .mmap) { _, rig in
            let file = try #require(try rig.client.regionInfo(.bar0).file)
            // F_ADD_SEALS, F_SEAL_FUTURE_WRITE.
            #expect(fcntl(file.descriptor.rawValue, 1033, 0x10) == -1 && errno == EPERM)
            // F_GET_SEALS: the size is sealed, and the seals are.
            #expect(fcntl(file.descriptor.rawValue, 1034, 0) & 7 == 7)
        }
    }
}
