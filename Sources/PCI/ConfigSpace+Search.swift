package import SystemPackage

/// The lists live in memory that the program may edit, so walks check every link and take a bounded number of steps.
extension ConfigSpace {
    /// More entries than a list without a loop can have.
    private var stepLimit: Int { size }

    /// The offset of the first capability with this id, or of the first one behind `position`, which is not checked
    /// to be a capability: what would be its next field is followed.
    ///
    /// `EINVAL`: `position` or a link leaves config space. `ENOENT`: none, also if the list has a loop, or a link
    /// into the header, and for extended searches in 256 bytes.
    package func findCapability(_ id: Int, extended: Bool, after position: Int = 0) throws(Errno) -> Int {
        var offset = position
        if position == 0 {
            offset = try listHead(extended: extended)
        } else {
            try checkLink(position, extended: extended)
            guard !extended || size > 0x100 else { throw .noSuchFileOrDirectory }
            offset = next(of: position, extended: extended)
        }
        for _ in 0..<stepLimit {
            // 0 is the end. A link into the header, or below the extended space, leads to no capability.
            guard offset >= (extended ? 0x100 : HeaderOffset.end) else { throw .noSuchFileOrDirectory }
            try checkLink(offset, extended: extended)
            let found = extended ? Int(storage.load16(at: offset)) : Int(storage.load8(at: offset))
            if found == id { return offset }
            offset = next(of: offset, extended: extended)
        }
        throw .noSuchFileOrDirectory
    }

    private func listHead(extended: Bool) throws(Errno) -> Int {
        guard extended else { return Int(storage.load8(at: HeaderOffset.capabilities)) }
        // An empty extended list has a zero id in its first header; 256 bytes have no such list.
        guard storage.load16(at: 0x100) != 0 else { return 0 }
        return 0x100
    }

    private func checkLink(_ offset: Int, extended: Bool) throws(Errno) {
        guard offset >= 0, offset < size - (extended ? 4 : 1) else { throw .invalidArgument }
    }

    private func next(of offset: Int, extended: Bool) -> Int {
        extended ? Int(storage.load32(at: offset) >> 20) : Int(storage.load8(at: offset + 1))
    }

    /// The last entry of a list, nil if it is empty. `EINVAL` if it has no end.
    func listTail(extended: Bool) throws(Errno) -> Int? {
        var offset = try listHead(extended: extended)
        if offset == 0 { return nil }
        for _ in 0..<stepLimit {
            guard offset >= (extended ? 0x100 : HeaderOffset.end) else { throw .invalidArgument }
            try checkLink(offset, extended: extended)
            let following = next(of: offset, extended: extended)
            if following == 0 { return offset }
            offset = following
        }
        throw .invalidArgument
    }
}
