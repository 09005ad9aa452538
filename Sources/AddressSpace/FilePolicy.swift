internal import SystemPackage
internal import VFIOUserSystem

/// What is asked of the files that clients map.
package struct FilePolicy: Sendable {
    /// Files that could become shorter are refused (`EPERM`).
    package var requiresSeals = false
    /// Copies to and from files that could become shorter go by pread and pwrite, so that touching a part
    /// that is gone is an error and no signal.
    package var guardsCopies = false

    package init(requiresSeals: Bool = false, guardsCopies: Bool = false) {
        self.requiresSeals = requiresSeals
        self.guardsCopies = guardsCopies
    }

    /// Whether anything is asked of files. What is mapped then has to lie within its file: of a file that cannot become
    /// shorter, all of the mapping can be touched.
    var asksAnything: Bool { requiresSeals || guardsCopies }

    /// Throws `EPERM`. A dma-buf never changes its size.
    func check(_ descriptor: borrowing OwnedFD, _ status: FileStatus) throws(Errno) {
        if !requiresSeals || status.isDMABuf || descriptor.descriptor.isSealedAgainstShrinking { return }
        throw .notPermitted
    }

    /// What copying has to mind if the file is mapped. Only regular files have a length that a client can
    /// change.
    func care(_ descriptor: borrowing OwnedFD, _ status: FileStatus) -> AccessCare {
        if status.isDMABuf { return .synchronized }
        if guardsCopies, status.isRegular, !descriptor.descriptor.isSealedAgainstShrinking { return .guarded }
        return []
    }
}
