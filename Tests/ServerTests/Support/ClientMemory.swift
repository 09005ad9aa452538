import SystemPackage
import VFIOUserAddressSpace
import VFIOUserWire

@testable import VFIOUserServer

extension DeviceServer {
    /// Bytes of client memory, as the device reads them. `directly`: by messages only where there is no other way.
    func readClient(_ address: UInt64, _ count: Int, directly: Bool = true) throws(Errno) -> [UInt8] {
        var bytes: [UInt8] = []
        for entry in try pieces(address, count, .read) {
            var piece = [UInt8](repeating: 0, count: Int(entry.length))
            // The buffer has room for the entry's bytes.
            var failure: Errno?
            unsafe piece.withUnsafeMutableBytes { buffer in
                guard let base = buffer.baseAddress else { return }
                do throws(Errno) {
                    try unsafe read(entry, into: base, directly: directly)
                } catch { failure = error }
            }
            if let failure { throw failure }
            bytes += piece
        }
        return bytes
    }

    /// Writes client memory, as the device does.
    func writeClient(_ address: UInt64, _ bytes: [UInt8], directly: Bool = true) throws(Errno) {
        var done = 0
        for entry in try pieces(address, bytes.count, .write) {
            let piece = Array(bytes[done..<done + Int(entry.length)])
            var failure: Errno?
            // The buffer holds the entry's bytes.
            unsafe piece.withUnsafeBytes { buffer in
                guard let base = buffer.baseAddress else { return }
                do throws(Errno) {
                    try unsafe write(entry, from: base, directly: directly)
                } catch { failure = error }
            }
            if let failure { throw failure }
            done += piece.count
        }
    }

    private func pieces(
        _ address: UInt64, _ count: Int, _ rights: AccessRights
    ) throws(Errno) -> ArraySlice<SGEntry> {
        var entries = [SGEntry](repeating: SGEntry(), count: 16)
        // Room for as many entries as is said.
        let found = try unsafe translator.translate(
            address, UInt64(count), rights, into: &entries, capacity: entries.count)
        guard found >= 0 else { throw .noBufferSpace }
        return entries[..<found]
    }
}

/// A whole reply to DMA_READ with its data.
func dmaReadReply(id: UInt16, _ address: UInt64, _ data: [UInt8]) -> [UInt8] {
    message(.dmaRead, bytes(address, UInt64(data.count)) + data, id: id, flags: .isReply)
}

/// A whole reply to DMA_WRITE.
func dmaWriteReply(id: UInt16, _ address: UInt64, _ count: Int) -> [UInt8] {
    message(.dmaWrite, bytes(address, UInt64(count)), id: id, flags: .isReply)
}
