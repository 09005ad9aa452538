import SystemPackage
import Testing
import VFIOUserWire

@testable import VFIOUserServer

/// What a device's author gets who asks for what there is not.
@Suite struct DeviceErrorTests {
    /// A device that reads, writes and does nothing.
    private final class Blank: Device {}

    /// Two pages of memory at 0x1000, of which the second is read-only.
    private func session() throws -> Session {
        let session = try Session()
        let file = try File.memory(0x2000)
        try session.map(0x1000, 0x1000, file)
        try session.map(0x2000, 0x1000, file, flags: .read, offset: 0x1000)
        try session.map(0x4000, 0x1000)
        return session
    }

    @Test func pieces() throws {
        let session = try session()
        defer { session.server.close() }
        let memory = session.server.clientMemory
        for count in [0, -1, Int.min] {
            #expect(throws: Errno.invalidArgument) { try memory.piece(at: 0x1000, count: count, for: .read) }
        }
        #expect(throws: Errno.noSuchFileOrDirectory) { try memory.piece(at: 0x3000, count: 1, for: .read) }
        #expect(throws: Errno.permissionDenied) { try memory.piece(at: 0x2000, count: 1, for: .write) }
        // Two pieces, with room for one.
        _ = try [MemoryPiece](capacity: 1) { pieces throws(Errno) in
            #expect(throws: Errno.noBufferSpace) {
                try memory.translate(0x1ff0, count: 0x20, for: .read, into: &pieces)
            }
            #expect(pieces.count == 1)
        }
    }

    @Test func fieldsOfRings() throws {
        let session = try session()
        let memory = session.server.clientMemory
        let piece = try memory.piece(at: 0x1000, count: 16, for: .readWrite)
        try memory.storeReleasing(UInt32(0x0102_0304), piece, at: 12)
        try memory.storeReleasing(UInt64(5), piece, at: 0)
        #expect(try memory.loadAcquiring(piece, at: 12) == 0x0102_0304)
        for offset in [-4, 13, 14, 16, Int.max, Int.min] {
            #expect(throws: Errno.invalidArgument) { try memory.loadAcquiring(piece, at: offset) }
            #expect(throws: Errno.invalidArgument) { try memory.storeReleasing(UInt32(1), piece, at: offset) }
        }
        // Within the piece, but not aligned.
        #expect(throws: Errno.invalidArgument) { try memory.loadAcquiring(piece, at: 2) }
        #expect(throws: Errno.invalidArgument) { try memory.storeReleasing(UInt64(1), piece, at: 4) }
        let short = try memory.piece(at: 0x1000, count: 3, for: .read)
        #expect(throws: Errno.invalidArgument) { try memory.loadAcquiring(short, at: 0) }
        let constant = try memory.piece(at: 0x2000, count: 16, for: .read)
        #expect(throws: Errno.notPermitted) { try memory.storeReleasing(UInt32(1), constant, at: 0) }
        #expect(throws: Errno.notPermitted) { try memory.storeReleasing(UInt64(1), constant, at: 0) }
        let remote = try memory.piece(at: 0x4000, count: 16, for: .readWrite)
        #expect(throws: Errno.badAddress) { try memory.loadAcquiring(remote, at: 0) }
        try session.unmap(0x1000, 0x1000)
        #expect(throws: Errno.invalidArgument) { try memory.loadAcquiring(piece, at: 0) }
    }

    @Test func configurationWords() throws {
        let session = try Session()
        let server = session.server
        _ = try server.configurationWord(at: 4094)
        for offset in [-1, 4095, 4096, Int.max, Int.min] {
            #expect(throws: Errno.invalidArgument) { try server.configurationWord(at: offset) }
        }
        let (_, theirs) = try RawPeer.pair()
        let bare = try DeviceServer(Blank(), at: .connected(theirs), waiting: .polling)
        #expect(throws: Errno.invalidArgument) { try bare.configurationWord(at: 0) }
    }

    /// A device that implements no access: regions can be declared, and every access fails.
    @Test func deviceWithoutAccess() throws {
        let (peer, theirs) = try RawPeer.pair()
        let server = try DeviceServer(Blank(), at: .connected(theirs), waiting: .polling)
        try server.setRegion(.bar0, Region(size: 4096, flags: [.readWrite, .memory]))
        try server.setRegion(.configuration, Region(size: 256, flags: [.readWrite, .alwaysDevice]))
        try server.realize()
        try peer.request(.version, versionPayload(nil))
        try server.attach()
        #expect(try peer.receive().error == nil)
        for region in [RegionIndex.bar0, .configuration] {
            let access = bytes(UInt64(0), region.rawValue, UInt32(4))
            try peer.request(.regionRead, access)
            try peer.request(.regionWrite, access + [1, 2, 3, 4])
            #expect(try server.poll() == 2)
            #expect(try peer.receive().error == .invalidArgument)
            #expect(try peer.receive().error == .invalidArgument)
        }
    }

    /// Serving is not for the device's own methods.
    @Test func servingWhileServing() throws {
        let session = try Session()
        var error: Errno?
        session.device.duringWrite = { server throws(Errno) in
            do throws(Errno) { try server.serve() } catch let caught { error = caught }
        }
        defer { session.device.forgetHooks() }
        try session.writeRegion(.bar0, 0, [1])
        #expect(error == .invalidArgument)
    }
}
