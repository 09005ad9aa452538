/// What a message asks for. A header keeps the raw number: it is echoed even when unknown.
///
/// Source: vfio-user protocol, "Commands"; the IOAS commands are the iommufd extension.
@usableFromInline package enum Command: UInt16, CaseIterable, Sendable {
    case version = 1
    case dmaMap = 2
    case dmaUnmap = 3
    case deviceGetInfo = 4
    case deviceGetRegionInfo = 5
    case deviceGetRegionIOFDs = 6
    case deviceGetIRQInfo = 7
    case deviceSetIRQs = 8
    case regionRead = 9
    case regionWrite = 10
    /// Server to client.
    case dmaRead = 11
    /// Server to client.
    case dmaWrite = 12
    case deviceReset = 13
    // 14 is not assigned.
    case regionWriteMulti = 15
    case deviceFeature = 16
    case migDataRead = 17
    case migDataWrite = 18

    case ioasAlloc = 19
    case ioasDestroy = 20
    case ioasMap = 21
    case ioasUnmap = 22
    case ioasCopy = 23
    case bind = 24
    case attachPT = 25
    case detachPT = 26
    case iovaRanges = 0x8001
    case compatIOAS = 0x8002
}
