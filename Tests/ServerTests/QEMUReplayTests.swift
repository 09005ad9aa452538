import Glibc
import SystemPackage
import Testing
import VFIOUserWire

@testable import VFIOUserServer

/// A session of QEMU's, recorded with another server, played to this one: its requests byte for byte and in the same
/// batches, the replies compared.
@Suite struct QEMUReplayTests {
    /// One line of the recording.
    struct Line {
        let isRequest: Bool
        let id: UInt16
        let command: Command
        let flags: UInt32
        let files: Int
        let payload: [UInt8]
        /// Whether data that was not recorded follows the payload.
        let isOpen: Bool
        let note: Comment

        init?(_ text: Substring) {
            let words = text.split(separator: " ", maxSplits: 5).map(String.init)
            guard words.count >= 5, let id = UInt16(words[1], radix: 16),
                let command = UInt16(words[2]).flatMap(Command.init), let flags = UInt32(words[3], radix: 16),
                let files = Int(words[4])
            else { return nil }
            isRequest = words[0] == ">"
            self.id = id
            self.command = command
            self.flags = flags
            self.files = files
            let rest = words.count > 5 ? words[5] : ""
            isOpen = rest.hasSuffix("*")
            payload = command == .version ? Self.version(rest) : Self.bytes(rest)
            note = "message \(words[1])"
        }

        private static func version(_ text: String) -> [UInt8] {
            let parts = text.split(separator: " ", maxSplits: 1)
            let numbers = parts[0].split(separator: ".").compactMap { UInt16($0) }
            return VFIOUserServerTests.bytes(numbers[0], numbers[1]) + Array(parts[1].utf8) + [0]
        }

        private static func bytes(_ text: String) -> [UInt8] {
            let digits = text.compactMap(\.hexDigitValue)
            return stride(from: 0, to: digits.count - 1, by: 2).map {
                UInt8(digits[$0] << 4 | digits[$0 + 1])
            }
        }
    }

    static func recording(_ name: String, _ file: StaticString = #filePath) -> [Line] {
        let folder = "\(file)".split(separator: "/", omittingEmptySubsequences: false).dropLast()
        let text = procFile((folder + ["Data", name[...]]).joined(separator: "/"))
        return text.split(separator: "\n").filter { !$0.hasPrefix("#") }.compactMap { Line($0) }
    }

    /// A GPIO card: outputs in bytes 0 and 4, inputs in 1 and 5, which the recording's guest pulsed.
    final class Card: Device {
        var inputs: [UInt8]
        var writes: [(UInt64, [UInt8])] = []
        var resets: [ResetKind] = []
        var regions: [UInt64: UInt64] = [:]

        init(inputs: [UInt8]) { self.inputs = inputs }

        func read(
            _ region: RegionIndex, at offset: UInt64, into data: inout MutableRawSpan, on server: DeviceServer
        ) throws(Errno) {
            guard region == .bar2, offset == 1, data.byteCount == 1, !inputs.isEmpty else { throw .ioError }
            data.storeBytes(of: inputs.removeFirst(), as: UInt8.self)
        }

        func write(
            _ region: RegionIndex, at offset: UInt64, from data: RawSpan, on server: DeviceServer
        ) throws(Errno) {
            // Any byte is a valid UInt8.
            writes.append((offset, unsafe data.withUnsafeBytes { unsafe [UInt8]($0) }))
        }

        func reset(_ kind: ResetKind, on server: DeviceServer) throws(Errno) { resets.append(kind) }
        func dmaRegionAdded(_ region: DMARegion, on server: DeviceServer) {
            regions[region.address] = region.size
        }
        func dmaRegionRemoved(_ region: DMARegion, on server: DeviceServer) { regions[region.address] = nil }
    }

    @Test(arguments: [WaitingMode.polling, .blocking])
    func guestWithCard(mode: WaitingMode) throws {
        let lines = Self.recording("qemu-gpio.txt")
        try #require(lines.count == 402)
        let inputs = lines.filter { !$0.isRequest && $0.command == .regionRead && $0.payload[8] == 2 }
            .compactMap(\.payload.last)
        let card = Card(inputs: inputs)
        let (peer, theirs) = try RawPeer.pair()
        let server = try DeviceServer(
            card, at: .connected(theirs), waiting: mode)
        try server.initializePCI(.conventional)
        try server.setIdentity(PCIIdentity(vendor: 0x494f, device: 0x0dc8))
        try server.setRegion(.bar2, Region(size: 256, flags: .readWrite))
        try server.setInterruptCount(.intx, 1)
        try server.enableDMA()
        try server.realize()
        // RAM as QEMU shares it, and an eventfd for each interrupt.
        let ram = try File.memory(0x1000_0000)
        let events = [try File.event(), try File.event()]

        let service = mode == .blocking ? Background { try? server.serve() } : nil
        var pollsToServe = 0
        for line in lines {
            guard !line.isRequest else {
                let files =
                    line.command == .dmaMap
                    ? [ram] : [events[line.payload.count > 8 ? Int(min(line.payload[8], 1)) : 0]]
                try peer.send(
                    message(line.command, line.payload, id: line.id, flags: line.flags),
                    line.files == 0 ? [] : files)
                continue
            }
            if mode == .polling, peer.isQuiet {
                pollsToServe += 1
                if server.isAttached { _ = try server.poll() } else { try server.attach() }
            }
            let reply = try peer.receive()
            #expect(reply.header.id == line.id, line.note)
            #expect(reply.header.command == line.command.rawValue, line.note)
            #expect(reply.header.flags.rawValue == line.flags, line.note)
            #expect(reply.files.count == line.files, line.note)
            if line.command == .version {
                try Self.compareCapabilities(reply.payload, line.payload)
            } else if line.isOpen {
                // The whole configuration space.
                #expect(reply.payload.count == 16 + 256, line.note)
                #expect(Array(reply.payload.prefix(16)) == line.payload, line.note)
                #expect(Array(reply.payload[16..<20]) == [0x4f, 0x49, 0xc8, 0x0d])
            } else {
                #expect(reply.payload == line.payload, line.note)
            }
        }
        #expect(peer.isQuiet)
        if mode == .polling {
            #expect(pollsToServe < lines.count / 2)
            try server.triggerInterrupt(0)
            try server.triggerInterrupt(.error)
            #expect(events.map { $0.events() } == [1, 1])
            #expect(card.regions.count == 6 && card.regions[0x100000] == 0xff0_0000)
            ram.put([0x55], at: 0x100_0000)
            #expect(try server.readClient(0x100_0000, 1) == [0x55])
        }
        peer.close()
        if mode == .polling { #expect(throws: Errno.socketNotConnected) { try server.poll() } }
        service?.join()
        #expect(card.inputs.isEmpty && card.regions.isEmpty)
        #expect(card.resets == [.device, .lostConnection])
        #expect(card.writes.map(\.0) == [2, 2, 3, 0, 0, 0, 0, 0, 0])
        #expect(card.writes.map(\.1) == [[0], [0], [0], [1], [0], [1], [0], [1], [0]])
    }

    /// The same version; the keys every server sends with the same values; beyond those only what QEMU offered.
    static func compareCapabilities(_ payload: [UInt8], _ recorded: [UInt8]) throws {
        var ours = Reader(payload.span)
        var theirs = Reader(recorded.span)
        #expect(try Version(decoding: &ours) == Version(decoding: &theirs))
        let granted = try ServerCapabilities(decoding: &ours, readingIOMMUFD: true)
        let expected = try ServerCapabilities(decoding: &theirs, readingIOMMUFD: true)
        #expect(granted.maxFDs == expected.maxFDs)
        #expect(granted.maxTransferByteCount == expected.maxTransferByteCount)
        #expect(granted.twinSocketFDIndex == nil && granted.iommufd == nil)
        // The recorded device could be migrated, this one cannot.
        #expect(granted.migrationPageSize == nil)
        #expect(granted.writeMultiple && granted.pageSizes == 4096 && granted.maxDMAMaps == 65_535)
    }
}
