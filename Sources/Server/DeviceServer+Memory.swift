internal import Glibc
public import SystemPackage
internal import VFIOUserAddressSpace

/// Copies of client memory, however it is reached: by address, by file, or by asking the client.
///
/// A copy by messages waits for the client's answers. QEMU gives none while it waits for the reply to a region access:
/// devices copy after ``Device/read(_:at:into:on:)`` and ``Device/write(_:at:from:on:)`` have returned. The client may
/// turn out to be gone; the device is then told so and reset before the copy throws `ENOTCONN`.
extension DeviceServer {
    /// Fills `data` with client memory from `address` on.
    ///
    /// - Throws: as ``ClientMemory/piece(at:count:for:)``, and `EIO`, `EFAULT` the memory's file cannot be read; `EBUSY` a
    ///   quiesce is pending; by messages also what the client answers, `EPROTO`, `ENOTCONN`, and `ECANCELED`
    ///   (``answersWhileWaiting``). Some of `data` may have been filled then.
    public func readMemory(at address: UInt64, into data: inout MutableRawSpan) throws(Errno) {
        var failure: Errno?
        // The buffer is the span's, all of it.
        unsafe data.withUnsafeMutableBytes { buffer in
            do throws(Errno) { try unsafe readMemory(at: address, into: buffer) } catch { failure = error }
        }
        if let failure { throw failure }
    }

    /// Writes `data` to client memory from `address` on, and marks it dirty.
    ///
    /// - Throws: as ``readMemory(at:into:)``. Some of `data` may have been written then.
    public func writeMemory(at address: UInt64, from data: RawSpan) throws(Errno) {
        var failure: Errno?
        // The buffer is the span's, all of it.
        unsafe data.withUnsafeBytes { buffer in
            do throws(Errno) { try unsafe writeMemory(at: address, from: buffer) } catch { failure = error }
        }
        if let failure { throw failure }
    }

    /// ``readMemory(at:into:)`` into initialized memory of any kind.
    @unsafe
    public func readMemory(at address: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(Errno) {
        var done = 0
        while let base = buffer.baseAddress, done < buffer.count {
            let next = address &+ UInt64(done)
            let piece = try clientMemory.piece(at: next, count: buffer.count - done, for: .read)
            // Not more than the rest of the buffer.
            try unsafe read(piece.entry, into: base + done, directly: true)
            done += piece.count
        }
    }

    /// ``writeMemory(at:from:)`` from memory of any kind.
    @unsafe
    public func writeMemory(at address: UInt64, from buffer: UnsafeRawBufferPointer) throws(Errno) {
        var done = 0
        while let base = buffer.baseAddress, done < buffer.count {
            let next = address &+ UInt64(done)
            let piece = try clientMemory.piece(at: next, count: buffer.count - done, for: .write)
            try unsafe write(piece.entry, from: base + done, directly: true)
            done += piece.count
        }
    }

    /// A little-endian integer of client memory; as ``readMemory(at:into:)``. Not atomic.
    public func loadMemory<Value: FixedWidthInteger & BitwiseCopyable>(
        at address: UInt64, as type: Value.Type
    ) throws(Errno) -> Value {
        var value: Value = 0
        var failure: Errno?
        // Any bytes are a valid integer.
        unsafe withUnsafeMutableBytes(of: &value) { buffer in
            do throws(Errno) { try unsafe readMemory(at: address, into: buffer) } catch { failure = error }
        }
        if let failure { throw failure }
        return Value(littleEndian: value)
    }

    /// Stores a little-endian integer in client memory; as ``writeMemory(at:from:)``. Not atomic.
    public func storeMemory<Value: FixedWidthInteger & BitwiseCopyable>(
        _ value: Value, at address: UInt64
    ) throws(Errno) {
        var value = value.littleEndian
        var failure: Errno?
        unsafe withUnsafeBytes(of: &value) { buffer in
            do throws(Errno) { try unsafe writeMemory(at: address, from: buffer) } catch { failure = error }
        }
        if let failure { throw failure }
    }
}
