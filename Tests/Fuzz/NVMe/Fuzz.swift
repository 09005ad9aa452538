import NVMeSupport

/// What a client of the NVMe sample does, right and wrong.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzNVMe(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    // The fuzzer's buffer has that many bytes.
    let bytes = unsafe Array(UnsafeBufferPointer(start: data, count: count))
    do {
        if let complaint = try Play(bytes).run() { fatalError(complaint) }
    } catch {
        fatalError("no store: \(error)")
    }
    return 0
}
