import Glibc
import SystemPackage
import Testing
import VFIOUserClient

struct InterruptTests {
    /// Adds to an eventfd as a device would.
    private static func signal(_ file: CInt, _ count: UInt64 = 1) {
        var count = count
        // 8 bytes of a local.
        _ = unsafe write(file, &count, 8)
    }

    @Test func listening() throws {
        try FakeServer.run { server in
            let request = try server.expect(Wire.setIRQs)
            #expect(request.payload == bytes(UInt32(20), UInt32(0x24), UInt32(2), UInt32(3), UInt32(2)))
            #expect(request.files.count == 2)
            Self.signal(request.files[1])
            Self.signal(request.files[1], 4)
            try server.reply(to: request)
            _ = try server.expect(Wire.reset)
            Self.signal(request.files[0])
            for file in request.files { FileDescriptor(rawValue: file).closeQuietly() }
        } client: { client in
            let first = try InterruptListener()
            let second = try InterruptListener()
            try client.setInterrupts(.msix, start: 3, [first, second])
            #expect(try second.take() == 5)
            #expect(try second.take() == 0)
            #expect(try first.wait(timeout: .milliseconds(5)) == 0)
            #expect(try first.wait(timeout: .zero) == 0)
            try client.send(.reset)
            #expect(try first.wait(timeout: .seconds(20)) == 1)
        }
    }

    @Test func everyForm() throws {
        let expected: [(UInt32, UInt32, UInt32, UInt32, [UInt8])] = [
            (0x24, 0, 0, 3, []), (0x21, 2, 0, 0, []), (0x09, 0, 0, 1, []), (0x11, 0, 1, 2, []),
            (0x21, 1, 4, 5, []), (0x22, 2, 6, 3, [1, 0, 1]), (0x0a, 2, 0, 1, [1]),
        ]
        try FakeServer.run { server in
            for (flags, index, start, count, data) in expected {
                let request = try server.expect(Wire.setIRQs)
                #expect(
                    request.payload == bytes(UInt32(20 + data.count), flags, index, start, count) + data)
                #expect(request.files.isEmpty)
                try server.reply(to: request)
            }
        } client: { client in
            try client.clearInterrupts(.intx, count: 3)
            try client.disableInterrupts(.msix)
            try client.maskInterrupts(.intx)
            try client.unmaskInterrupts(.intx, start: 1, count: 2)
            try client.triggerInterrupts(.msi, start: 4, count: 5)
            try client.setInterrupts(.msix, .trigger, start: 6, where: [true, false, true])
            try client.setInterrupts(.msix, .mask, where: [true])
        }
    }

    @Test func ioDescriptors() throws {
        let eventFD = try InterruptListener()
        let shadow = try DMAFile(count: 4096)
        let entries =
            bytes(
                UInt64(0x40), UInt64(4), UInt32(0), UInt32(2), UInt32(0), UInt32(1), UInt64(0x80), UInt64(0))
            + bytes(
                UInt64(0x10), UInt64(0), UInt32(0), UInt32(0), UInt32(1), UInt32(9), UInt64(9), UInt64(55))
            + bytes(
                UInt64(0x20), UInt64(8), UInt32.max, UInt32(7), UInt32(0), UInt32(0), UInt64(0), UInt64(0))
        let number = eventFD.descriptor.rawValue
        try FakeServer.run { server in
            let request = try server.expect(Wire.regionIOFDs)
            #expect(request.payload == bytes(UInt32(16 + 48 * 16), UInt32(0), UInt32(2), UInt32(0)))
            try server.reply(
                to: request, bytes(UInt32(160), UInt32(0), UInt32(2), UInt32(3)) + entries,
                files: [number, shadow.number])
        } client: { client in
            let found = try client.regionIOFDs(.bar2)
            #expect(found.map(\.offset) == [0x40, 0x10, 0x20])
            #expect(found.map(\.size) == [4, 0, 8])
            #expect(found.map(\.kind) == [.shadowIOEventFD, .ioEventFD, .other(7)])
            #expect(found[1].dataMatch == 55)
            try found[0].mapShadow().store(0xabcd as UInt32, at: 0)
            try found[0].signal()
            try found[1].signal()
            #expect(try eventFD.take() == 2)
            #expect(shadow.memory(0x80, 4) == bytes(UInt32(0xabcd)))
            #expect(throws: Errno.badFileDescriptor) { try found[2].signal() }
            #expect(throws: Errno.noSuchAddressOrDevice) { try found[1].mapShadow() }
        }
    }

    @Test func ioDescriptorsThatDidNotCome() throws {
        for (reply, error) in [
            (bytes(UInt32(64), UInt32(0), UInt32(2), UInt32(1)) + .pattern(48), Errno.protocolError),
            (bytes(UInt32(64), UInt32(0), UInt32(2), UInt32(1)), .protocolError),
            (bytes(UInt32(64), UInt32(0), UInt32(2), UInt32.max), .protocolError),
            (bytes(UInt32.max, UInt32(0), UInt32(2), UInt32.max), .protocolError),
            (bytes(UInt32(64), UInt32(0), UInt32(1), UInt32(0)), .protocolError),
        ] {
            try FakeServer.run { server in
                try server.reply(to: server.expect(Wire.regionIOFDs), reply)
            } client: { client in
                #expect(throws: error) { try client.regionIOFDs(.bar2) }
            }
        }
    }

    @Test func manyIODescriptorsAreAskedForAgain() throws {
        let count = 40
        let entry = bytes(
            UInt64(0), UInt64(4), UInt32.max, UInt32(0), UInt32(0), UInt32(0), UInt64(0), UInt64(0))
        try FakeServer.run { server in
            let head = bytes(UInt32(16 + 48 * count), UInt32(0), UInt32(0), UInt32(count))
            try server.reply(to: server.expect(Wire.regionIOFDs), head)
            let second = try server.expect(Wire.regionIOFDs)
            #expect(second.payload.prefix(4) == head.prefix(4))
            try server.reply(to: second, head + (0..<count).flatMap { _ in entry })
        } client: { client in
            let found = try client.regionIOFDs(.bar0)
            #expect(found.count == count)
        }
    }
}
