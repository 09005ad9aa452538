internal import CLinux
package import SystemPackage

/// Which file a descriptor is open on. Two descriptors of one file have equal identities.
package struct FileIdentity: Hashable, Sendable {
    package let device: UInt64
    package let inode: UInt64

    package init(device: UInt64, inode: UInt64) {
        self.device = device
        self.inode = inode
    }
}

/// What fstat tells of an open file.
package struct FileStatus: Sendable {
    package let identity: FileIdentity
    /// Bytes, where a size says how much there is: of regular files, block devices and dma-bufs.
    package let size: UInt64?
    /// The size of block the file is best moved and mapped in: of hugetlbfs, the huge page's.
    package let blockSize: UInt64
    /// A regular file or block device: its identity stands for its contents.
    package let hasContents: Bool
    /// A regular file, which whoever may write it may also shorten.
    package let isRegular: Bool
    /// A dma-buf, whose exporter is to be told of uses by the processor.
    package let isDMABuf: Bool

    /// Asks the kernel; nil without a descriptor. Throws fstat's errno.
    package static func of(_ file: borrowing OwnedFD?) throws(Errno) -> FileStatus? {
        switch file {
        case .some(let file): try FileStatus(of: file.descriptor)
        case .none: nil
        }
    }

    /// Asks the kernel. Throws fstat's errno.
    package init(of file: FileDescriptor) throws(Errno) {
        let status = clx_file_status(file.rawValue)
        _ = try status.error.orErrno()
        identity = FileIdentity(device: status.device, inode: status.inode)
        size = status.sized != 0 ? UInt64(clamping: status.size) : nil
        blockSize = UInt64(clamping: status.block_size)
        hasContents = status.regular != 0 || status.block != 0
        isRegular = status.regular != 0
        isDMABuf = status.dma_buf != 0
    }
}
