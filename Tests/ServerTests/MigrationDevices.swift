import SystemPackage
import VFIOUserAddressSpace

@testable import VFIOUserServer

extension DeviceServer {
    /// What a device does that writes to client memory on its own.
    func markDirty(_ iova: UInt64, _ length: UInt64) throws(Errno) {
        for entry in try entries(iova, length, .write) { translator.markDirty(entry) }
    }

    /// What a device does that is done with memory.
    func endUse(of entry: SGEntry) {
        unsafe withUnsafePointer(to: entry) { unsafe translator.put($0, count: 1) }
    }

    /// The pieces of a range.
    func entries(_ iova: UInt64, _ length: UInt64, _ rights: AccessRights) throws(Errno) -> [SGEntry] {
        var entries = [SGEntry](repeating: SGEntry(), count: 4)
        let count = try unsafe entries.withUnsafeMutableBufferPointer { (entries) throws(Errno) in
            // As many as are said.
            try unsafe translator.translate(iova, length, rights, into: entries.baseAddress, capacity: 4)
        }
        guard count >= 0 else { throw Errno.noBufferSpace }
        return Array(entries[..<count])
    }
}

/// A device that notes what happens to it.
final class RecordingDevice: MigratableDevice {
    enum Call: Equatable {
        case quiesce
        case enter(MigrationState)
        case save(Int)
        case restore([UInt8])
        case reset(ResetKind)
        case removed(UInt64)
        case access
    }

    var calls: [Call] = []
    /// What the device's state consists of, from which reads take.
    var image: [UInt8] = []
    /// Fails entering a state.
    var failures: [MigrationState: Errno] = [:]
    /// Fails saving and restoring.
    var dataFailure: Errno?
    var quiesceAnswer = QuiesceState.quiesced
    var onRemoval: (DMARegion, DeviceServer) -> Void = { _, _ in }

    /// The states entered, and forgets everything noted.
    func takeStates() -> [MigrationState] {
        defer { calls = [] }
        return calls.compactMap { if case .enter(let state) = $0 { state } else { nil } }
    }

    func enter(_ state: MigrationState, on server: DeviceServer) throws(Errno) {
        calls.append(.enter(state))
        if let error = failures[state] { throw error }
    }

    func saveState(into data: inout OutputRawSpan, on server: DeviceServer) throws(Errno) {
        calls.append(.save(data.freeCapacity))
        if let dataFailure { throw dataFailure }
        while !data.isFull, let byte = image.first {
            data.append(byte)
            image.removeFirst()
        }
    }

    func restoreState(from data: RawSpan, on server: DeviceServer) throws(Errno) {
        calls.append(.restore(unsafe data.withUnsafeBytes { unsafe Array($0) }))
        if let dataFailure { throw dataFailure }
    }

    func read(
        _ region: RegionIndex, at offset: UInt64, into data: inout MutableRawSpan, on server: DeviceServer
    ) throws(Errno) { calls.append(.access) }

    func write(
        _ region: RegionIndex, at offset: UInt64, from data: RawSpan, on server: DeviceServer
    ) throws(Errno) { calls.append(.access) }

    func quiesce(on server: DeviceServer) throws(Errno) -> QuiesceState {
        calls.append(.quiesce)
        return quiesceAnswer
    }

    func reset(_ kind: ResetKind, on server: DeviceServer) throws(Errno) { calls.append(.reset(kind)) }

    func dmaRegionRemoved(_ region: DMARegion, on server: DeviceServer) {
        calls.append(.removed(region.address))
        onRemoval(region, server)
    }
}
