// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation
// These functions are documented in the header they implement.

public import CVFIOUser
internal import Glibc
internal import SystemPackage
internal import VFIOUserAddressSpace
internal import VFIOUserServer

// The functions called for every piece of memory are @c, which unlike @_cdecl makes no second function to jump to.
//
// dma_sg_t is opaque in C and an SGEntry here; arrays of them come from the program, which got their size from
// dma_sg_size(). An entry is only ever copied out and checked against the mappings, so its bytes can be anything.

@_cdecl("dma_sg_size") @implementation
public func dma_sg_size() -> Int { MemoryLayout<SGEntry>.stride }

@c @implementation
public func vfu_addr_to_sgl(
    _ vfu_ctx: OpaquePointer!, _ dma_addr: vfu_dma_addr_t!, _ len: Int, _ sgl: OpaquePointer!,
    _ max_nr_sgs: Int, _ prot: CInt
) -> CInt {
    do throws(Errno) {
        // A size_t: without its top bit it is still more than there can be.
        let count = try unsafe ContextBlock.translator(of: vfu_ctx).translate(
            UInt64(UInt(bitPattern: dma_addr)), UInt64(UInt(bitPattern: len)), AccessRights(protection: prot),
            into: entries(sgl), capacity: max_nr_sgs & Int.max)
        if count < 0 { errno = 0 }
        return CInt(clamping: count)
    } catch {
        let isEnabled = unsafe ContextBlock.withServer(of: vfu_ctx) { $0.isDMAEnabled }
        return failure(isEnabled ? error : .invalidArgument)
    }
}

@_cdecl("vfu_sg_is_mappable") @implementation
public func vfu_sg_is_mappable(_ vfu_ctx: OpaquePointer!, _ sg: OpaquePointer!) -> Bool {
    guard let entry = unsafe entries(sg)?.pointee else { return false }
    return unsafe ContextBlock.translator(of: vfu_ctx).isMappable(entry)
}

@c @implementation
public func vfu_sgl_get(
    _ vfu_ctx: OpaquePointer!, _ sgl: OpaquePointer!, _ iov: UnsafeMutablePointer<iovec>!, _ cnt: Int,
    _ flags: CInt
) -> CInt {
    guard flags == 0, cnt > 0, let entries = unsafe entries(sgl), let iov = unsafe iov else {
        return failure(.invalidArgument)
    }
    let translator = unsafe ContextBlock.translator(of: vfu_ctx)
    if translator.hasSynchronizedMemory { return unsafe synchronizedGet(translator, entries, iov, cnt) }
    do throws(Errno) {
        try unsafe get(translator, entries, iov, cnt)
        return 0
    } catch {
        return failure(error)
    }
}

/// The local addresses of `count` entries, at least one.
@inline(__always)
private func get(
    _ translator: Translator, _ entries: UnsafeMutablePointer<SGEntry>, _ iov: UnsafeMutablePointer<iovec>,
    _ count: Int
) throws(Errno) {
    var place = 0
    repeat {
        let entry = unsafe entries[place]
        unsafe iov[place].iov_base = try translator.localAddress(of: entry)
        unsafe iov[place].iov_len = Int(truncatingIfNeeded: entry.length)
        place &+= 1
    } while place < count
}

/// The same where dma-bufs may be among them: their exporters are told that the use begins.
@inline(never)
private func synchronizedGet(
    _ translator: Translator, _ entries: UnsafeMutablePointer<SGEntry>, _ iov: UnsafeMutablePointer<iovec>,
    _ count: Int
) -> CInt {
    var begun = 0
    do throws(Errno) {
        try unsafe get(translator, entries, iov, count)
        while begun < count {
            try translator.beginAccess(unsafe entries[begun])
            begun += 1
        }
        return 0
    } catch {
        for place in 0..<begun { translator.endAccess(unsafe entries[place]) }
        return failure(error)
    }
}

@c @implementation
public func vfu_sgl_put(
    _ vfu_ctx: OpaquePointer!, _ sgl: OpaquePointer!, _ iov: UnsafeMutablePointer<iovec>!, _ cnt: Int
) {
    let translator = unsafe ContextBlock.translator(of: vfu_ctx)
    guard translator.mindsUses, cnt > 0, let entries = unsafe entries(sgl) else { return }
    for place in 0..<cnt { translator.put(unsafe entries[place]) }
}

@c @implementation
public func vfu_sgl_mark_dirty(_ vfu_ctx: OpaquePointer!, _ sgl: OpaquePointer!, _ cnt: Int) {
    unsafe markDirty(vfu_ctx, sgl, cnt)
}

@_cdecl("vfu_sgl_read") @implementation
public func vfu_sgl_read(
    _ vfu_ctx: OpaquePointer!, _ sgl: OpaquePointer!, _ sg_cnt: Int, _ data: UnsafeMutableRawPointer!,
    _ flags: CInt
) -> CInt {
    unsafe ContextBlock.withServer(of: vfu_ctx) { server in
        result { () throws(Errno) in
            let entry = unsafe try single(sgl, sg_cnt, flags)
            guard let data = unsafe data else { throw .badAddress }
            try unsafe server.read(entry, into: data, directly: flags & CInt(VFU_SGL_DIRECT_ACCESS) != 0)
        }
    }
}

@_cdecl("vfu_sgl_write") @implementation
public func vfu_sgl_write(
    _ vfu_ctx: OpaquePointer!, _ sgl: OpaquePointer!, _ sg_cnt: Int, _ data: UnsafeMutableRawPointer!,
    _ flags: CInt
) -> CInt {
    unsafe ContextBlock.withServer(of: vfu_ctx) { server in
        result { () throws(Errno) in
            let entry = unsafe try single(sgl, sg_cnt, flags)
            guard let data = unsafe data else { throw .badAddress }
            try unsafe server.write(entry, from: data, directly: flags & CInt(VFU_SGL_DIRECT_ACCESS) != 0)
        }
    }
}

@inline(__always)
private func markDirty(_ vfu_ctx: OpaquePointer, _ sgl: OpaquePointer?, _ cnt: Int) {
    let translator = unsafe ContextBlock.translator(of: vfu_ctx)
    guard translator.isLogging, cnt > 0, let entries = unsafe entries(sgl) else { return }
    for place in 0..<cnt { translator.markDirty(unsafe entries[place]) }
}

@inline(__always)
private func entries(_ sgl: OpaquePointer?) -> UnsafeMutablePointer<SGEntry>? {
    unsafe UnsafeMutablePointer(sgl)
}

/// The one entry that a copying function takes.
private func single(_ sgl: OpaquePointer?, _ count: Int, _ flags: CInt) throws(Errno) -> SGEntry {
    guard flags & ~CInt(VFU_SGL_DIRECT_ACCESS) == 0 else { throw .invalidArgument }
    guard count == 1 else { throw .notSupported }
    guard let entries = unsafe entries(sgl) else { throw .invalidArgument }
    return unsafe entries.pointee
}
