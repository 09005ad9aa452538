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
    let isFound = unsafe ContextBlock.translator(of: vfu_ctx).translateByHint(
        UInt64(UInt(bitPattern: dma_addr)), UInt64(UInt(bitPattern: len)), AccessRights(protection: prot),
        into: entries(sgl), capacity: max_nr_sgs & Int.max)
    return isFound ? 1 : unsafe search(vfu_ctx, dma_addr, len, sgl, max_nr_sgs, prot)
}

/// vfu_addr_to_sgl for what is not in the mapping found last.
@inline(never)
private func search(
    _ vfu_ctx: OpaquePointer!, _ dma_addr: vfu_dma_addr_t?, _ len: Int, _ sgl: OpaquePointer?,
    _ max_nr_sgs: Int, _ prot: CInt
) -> CInt {
    do throws(Errno) {
        // A size_t: without its top bit it is still more than there can be.
        let count = try unsafe ContextBlock.translator(of: vfu_ctx).translateByTree(
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
        return invalid()
    }
    let translator = unsafe ContextBlock.translator(of: vfu_ctx)
    if translator.hasSynchronizedMemory { return unsafe synchronizedGet(translator, entries, iov, cnt) }
    // What is left. Nothing else is kept at hand: the loop does with the registers there are.
    var entry = unsafe entries
    var vector = unsafe iov
    var left = cnt
    repeat {
        guard let address = unsafe translator.addressIfMapped(entry.pointee) else {
            return unsafe refusal(translator, entry)
        }
        unsafe vector.pointee.iov_base = address
        unsafe vector.pointee.iov_len = Int(truncatingIfNeeded: entry.pointee.length)
        unsafe entry += 1
        unsafe vector += 1
        left &-= 1
    } while left != 0
    return 0
}

// What follows is not inlined, so that the functions above need nothing on the stack.

@inline(never)
private func invalid() -> CInt { failure(.invalidArgument) }

/// Why an entry has no local address.
@inline(never)
private func refusal(_ translator: Translator, _ entry: UnsafeMutablePointer<SGEntry>) -> CInt {
    result { () throws(Errno) in _ = try unsafe translator.localAddress(of: entry.pointee) }
}

/// The same where dma-bufs may be among them: their exporters are told that the use begins.
@inline(never)
private func synchronizedGet(
    _ translator: Translator, _ entries: UnsafeMutablePointer<SGEntry>, _ iov: UnsafeMutablePointer<iovec>,
    _ count: Int
) -> CInt {
    var begun = 0
    do throws(Errno) {
        for place in 0..<count {
            unsafe iov[place].iov_base = try translator.localAddress(of: entries[place])
            unsafe iov[place].iov_len = Int(truncatingIfNeeded: entries[place].length)
        }
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
    if translator.mindsUses { unsafe translator.put(entries(sgl), count: cnt) }
}

@c @implementation
public func vfu_sgl_mark_dirty(_ vfu_ctx: OpaquePointer!, _ sgl: OpaquePointer!, _ cnt: Int) {
    let translator = unsafe ContextBlock.translator(of: vfu_ctx)
    if translator.isLogging { unsafe translator.markDirty(entries(sgl), count: cnt) }
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
