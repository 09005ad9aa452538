import Foundation
import SystemPackage
import VFIOUserClient
import VFIOUserServer

@testable import NVMeDriver

/// A device that looks like a controller as far as a test wants it to: registers that hold what they are told, admin
/// commands answered by a script, doorbells by messages.
final class FakeController: Device, @unchecked Sendable {
    /// What a command is answered with.
    struct Answer {
        /// The completion's result, identifier (nil: the command's), queue, status; nil for no completion at all.
        var result: UInt32 = 0
        var identifier: UInt16?
        var queue: UInt16 = 0
        var status: UInt16 = 0
        /// What is written where the data pointer leads.
        var page: [UInt8] = []
        var isSent = true
    }

    /// A command as far as scripts look at it.
    struct Request {
        let opcode: UInt8
        let dword10: UInt32
        let identifier: UInt16
    }

    // Set before the server runs.
    var capabilities: UInt64 = 0xff | 1 << 37 | 1 << 24
    /// What CSTS reads as, by CC.
    var status: (UInt32) -> UInt32 = { $0 & 1 | ($0 >> 14 & 3 == 0 ? 0 : 8) }
    var script: (Request) -> Answer = FakeController.wellBehaved
    var classCode: PCIClass = .nvme
    var barSize: UInt64 = 0x2000

    private var configuration: UInt32 = 0
    private var submissionQueue: UInt64 = 0
    private var completionQueue: UInt64 = 0
    private var entries: UInt32 = 0
    private var head: UInt32 = 0
    private var posted: UInt32 = 0

    /// A controller with one namespace of 1024 blocks of 512 bytes.
    static func wellBehaved(_ request: Request) -> Answer {
        var answer = Answer()
        guard request.opcode == 0x06 else { return answer }
        answer.page = [UInt8](repeating: 0, count: 4096)
        switch request.dword10 & 0xff {
        case 0x00:
            answer.page[1] = 4
            answer.page[130] = 9
        case 0x01: answer.page[516] = 1
        case 0x02: answer.page[0] = 1
        default: break
        }
        return answer
    }

    func read(
        _ region: RegionIndex, at offset: UInt64, into data: inout MutableRawSpan, on server: DeviceServer
    ) throws(Errno) {
        let value: UInt64
        switch offset {
        case 0x00: value = capabilities
        case 0x14: value = UInt64(configuration)
        case 0x1c: value = UInt64(status(configuration))
        default: value = 0
        }
        for place in 0..<data.byteCount {
            data.storeBytes(
                of: UInt8(truncatingIfNeeded: value >> UInt64(8 * place)), toByteOffset: place, as: UInt8.self
            )
        }
    }

    func write(_ region: RegionIndex, at offset: UInt64, from data: RawSpan, on server: DeviceServer)
        throws(Errno)
    {
        var value: UInt64 = 0
        for place in 0..<min(8, data.byteCount) {
            value |=
                UInt64(unsafe data.unsafeLoad(fromByteOffset: place, as: UInt8.self)) << UInt64(8 * place)
        }
        switch offset {
        case 0x14: configuration = UInt32(truncatingIfNeeded: value)
        case 0x24: entries = UInt32(value & 0xfff) + 1
        case 0x28: submissionQueue = value
        case 0x30: completionQueue = value
        case 0x1000: while head != UInt32(truncatingIfNeeded: value), try answerNext(server) {}
        default: break
        }
    }

    private func answerNext(_ server: DeviceServer) throws(Errno) -> Bool {
        let place = submissionQueue + UInt64(head) * 64
        let dword0 = try server.loadMemory(at: place, as: UInt32.self)
        let answer = script(
            Request(
                opcode: UInt8(truncatingIfNeeded: dword0),
                dword10: try server.loadMemory(at: place + 40, as: UInt32.self),
                identifier: UInt16(dword0 >> 16)))
        head = head + 1 == entries ? 0 : head + 1
        if !answer.page.isEmpty {
            let target = try server.loadMemory(at: place + 24, as: UInt64.self)
            // Bytes as raw bytes.
            try server.writeMemory(at: target, from: unsafe answer.page.span.bytes)
        }
        guard answer.isSent else { return true }
        let entry = completionQueue + UInt64(posted % entries) * 16
        let phase: UInt32 = posted / entries % 2 == 0 ? 1 : 0
        try server.storeMemory(answer.result, at: entry)
        try server.storeMemory(UInt32(answer.queue) << 16 | head, at: entry + 8)
        try server.storeMemory(
            UInt32(answer.identifier ?? UInt16(dword0 >> 16)) | phase << 16 | UInt32(answer.status) << 17,
            at: entry + 12)
        posted += 1
        return true
    }

    /// Has a driver connect to this device.
    ///
    /// - Throws: what the driver throws.
    func withDriver(
        _ options: DriverOptions, _ body: (Controller) throws -> Void = { _ in }
    ) throws {
        let (ours, theirs) = try socketPair()
        let server = try DeviceServer(self, at: .connected(theirs))
        try server.initializePCI(.express)
        try server.setClass(classCode)
        try server.setRegion(.bar0, Region(size: barSize, flags: [.readWrite, .memory]))
        try server.enableDMA()
        try server.realize()
        let holder = Holder(server)
        let hasEnded = DispatchSemaphore(value: 0)
        Thread.detachNewThread {
            try? holder.server.serve()
            holder.server.close()
            hasEnded.signal()
        }
        defer { hasEnded.wait() }
        let client = try Client(adopting: ours, options: options.clientOptions)
        defer { client.close() }
        try body(Controller(client, options))
    }

    private final class Holder: @unchecked Sendable {
        let server: DeviceServer
        init(_ server: DeviceServer) { self.server = server }
    }
}
