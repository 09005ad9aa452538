// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation
// These functions are documented in the header they implement.

public import CVFIOUser
internal import Glibc
internal import SystemPackage
internal import VFIOUserServer

@_cdecl("vfu_setup_region") @implementation
public func vfu_setup_region(
    _ vfu_ctx: OpaquePointer!, _ region_idx: CInt, _ size: Int, _ region_access: RegionAccessCallback!,
    _ flags: CInt, _ mmap_areas: UnsafeMutablePointer<iovec>!, _ nr_mmap_areas: UInt32, _ fd: CInt,
    _ offset: UInt64
) -> CInt {
    result { () throws(Errno) in
        guard unsafe (mmap_areas == nil) == (nr_mmap_areas == 0),
            let index = UInt32(exactly: region_idx).flatMap(RegionIndex.init)
        else { throw .invalidArgument }
        var areas: [Region.Area] = []
        for place in 0..<Int(nr_mmap_areas) {
            // As many as the caller says; the base of each is an offset in the region.
            guard let area = unsafe mmap_areas?[place] else { break }
            let start = unsafe UInt64(UInt(bitPattern: area.iov_base))
            unsafe areas.append(Region.Area(offset: start, size: UInt64(UInt(bitPattern: area.iov_len))))
        }
        let region = unsafe Region(
            size: UInt64(UInt(bitPattern: size)), flags: Region.Flags(rawValue: UInt32(bitPattern: flags)),
            isHandled: region_access != nil, file: fd == -1 ? nil : FileDescriptor(rawValue: fd),
            fileOffset: offset, mappableAreas: areas)
        unsafe try server(vfu_ctx).setRegion(index, region)
        unsafe device(vfu_ctx).regionAccess[Int(index.rawValue)] = region_access
    }
}

@_cdecl("vfu_create_ioeventfd") @implementation
public func vfu_create_ioeventfd(
    _ vfu_ctx: OpaquePointer!, _ region_idx: UInt32, _ fd: CInt, _ gpa_offset: Int, _ size: UInt32,
    _ flags: UInt32, _ datamatch: UInt64, _ shadow_fd: CInt, _ shadow_offset: Int
) -> CInt {
    result { () throws(Errno) in
        guard let index = RegionIndex(rawValue: region_idx) else { throw .invalidArgument }
        unsafe try server(vfu_ctx).addIOEventFD(
            IOEventFD(
                file: fd, offset: UInt64(UInt(bitPattern: gpa_offset)), size: size, flags: flags,
                match: datamatch, shadowFile: shadow_fd,
                shadowOffset: UInt64(UInt(bitPattern: shadow_offset))),
            to: index)
    }
}
