internal import SystemPackage

/// Identify (NVMe 1.4, 5.15).
extension NVMeController {
    func identify(_ slot: Int, _ entry: SubmissionEntry) {
        switch entry.dword10 & 0xff {
        case 0x00: deliverNamespace(slot, entry) { namespaceData($0) }
        case 0x01: deliver(slot, controllerData().bytes[...])
        case 0x02:
            // The two largest identifiers cannot be followed by any.
            guard entry.namespace < everyNamespace - 1 else { return complete(slot, .invalidNamespace) }
            var page = DataPage()
            var place = 0
            for index in 0..<namespaceCount where UInt32(index + 1) > entry.namespace {
                page.put(UInt32(index + 1), at: 4 * place)
                place += 1
            }
            deliver(slot, page.bytes[...])
        case 0x03: deliverNamespace(slot, entry) { namespaceDescriptors($0) }
        case 0x06:
            // What a later revision says of the NVM command set: no limits but those of Identify Controller.
            guard entry.dword11 >> 24 == 0 else { return complete(slot, .invalidField) }
            deliver(slot, DataPage().bytes[...])
        default: complete(slot, .invalidField)
        }
    }

    private func deliverNamespace(_ slot: Int, _ entry: SubmissionEntry, _ make: (Int) -> DataPage) {
        guard entry.namespace >= 1, entry.namespace <= UInt32(namespaceCount) else {
            return complete(slot, .invalidNamespace)
        }
        deliver(slot, make(Int(entry.namespace) - 1).bytes[...])
    }

    private func controllerData() -> DataPage {
        var page = DataPage()
        page.put(configuration.vendor, at: 0)
        page.put(configuration.vendor, at: 2)
        page.put(configuration.serialNumber, at: 4, count: 20)
        page.put(configuration.model, at: 24, count: 40)
        page.put(configuration.firmware, at: 64, count: 8)
        page.put(UInt8(6), at: 72)  // RAB: bursts of 64
        page.put(Limit.transferShift, at: 77)  // MDTS
        page.put(Self.version, at: 80)
        page.put(UInt32(1_000_000), at: 88)  // RTD3E, microseconds
        page.put(AsyncEvents.offered, at: 92)  // OAES
        page.put(UInt8(1), at: 111)  // CNTRLTYPE: I/O controller
        let shadow: UInt16 = configuration.offersShadowDoorbells ? 1 << 8 : 0
        page.put(1 << 1 | shadow, at: 256)  // OACS: Format NVM
        page.put(UInt8(3), at: 258)  // ACL: 4 aborts
        page.put(UInt8(Limit.eventRequests - 1), at: 259)  // AERL
        page.put(UInt8(1 << 1 | 1), at: 260)  // FRMW: one slot, read-only
        page.put(UInt8(1 << 2 | 1 << 1), at: 261)  // LPA: offsets, commands effects
        page.put(UInt8(Limit.errorEntries - 1), at: 262)  // ELPE
        page.put(Features.warningTemperature, at: 266)  // WCTEMP
        page.put(Features.criticalTemperature, at: 268)  // CCTEMP
        var total: UInt64 = 0
        for place in 0..<namespaceCount {
            total = unsafe total.addingReportingOverflow(namespaces[place].capacity).partialValue
        }
        page.put(total, at: 280)  // TNVMCAP
        page.put(UInt8(0x66), at: 512)  // SQES
        page.put(UInt8(0x44), at: 513)  // CQES
        page.put(UInt32(namespaceCount), at: 516)
        // ONCS: Compare, Dataset Management, Write Zeroes, the Save and Select fields, Verify
        page.put(UInt16(1 << 0 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 7), at: 520)
        page.put(Self.scatterGatherSupport, at: 536)  // SGLS
        page.put(UInt8(3 << 1 | (features.canCache ? 1 : 0)), at: 525)  // VWC: Flush of every namespace
        let name =
            configuration.subsystemName.isEmpty
            ? "nqn.2014-08.org.nvmexpress:vfio-user:\(configuration.serialNumber)"
            : configuration.subsystemName
        page.put(terminated: name, at: 768, count: 256)
        page.put(UInt16(2500), at: 2048)  // power state 0: 25 W, in 0.01 W
        return page
    }

    private func namespaceData(_ place: Int) -> DataPage {
        var page = DataPage()
        let namespace = unsafe namespaces[place]
        page.put(namespace.blockCount, at: 0)  // NSZE
        page.put(namespace.blockCount, at: 8)  // NCAP
        page.put(namespace.blockCount, at: 16)  // NUSE
        page.put(UInt8(1 << 4), at: 24)  // NSFEAT: NPWG and the like are valid
        page.put(UInt8(Namespace.formats.count - 1), at: 25)  // NLBAF
        page.put(namespace.format, at: 26)  // FLBAS
        // DLFEAT: Write Zeroes deallocates; what deallocated blocks read as, zeros or not reported
        page.put(UInt8(1 << 3 | (namespace.zeroesWhenDeallocated ? 1 : 0)), at: 33)
        page.put(namespace.capacity, at: 48)  // NVMCAP
        let page4K = UInt16(4096 >> namespace.blockShift) - 1
        page.put(page4K, at: 64)  // NPWG
        page.put(page4K, at: 66)  // NPWA
        page.put(page4K, at: 68)  // NPDG
        page.put(page4K, at: 70)  // NPDA
        page.put(UInt8(namespace.isReadOnly ? 1 : 0), at: 99)  // NSATTR: write protected
        page.put(uniqueIdentifier(place), at: 104)
        for (index, shift) in Namespace.formats.enumerated() {
            // A format of no block size cannot be chosen.
            page.put(UInt32(namespace.offers(shift) ? shift : 0) << 16, at: 128 + 4 * index)
        }
        return page
    }

    private func namespaceDescriptors(_ place: Int) -> DataPage {
        var page = DataPage()
        page.put([2, 16, 0, 0] + uniqueIdentifier(place), at: 0)  // NGUID
        var uuid = uniqueIdentifier(place)
        // Version 8, vendor-specific, and the usual variant.
        uuid[6] = uuid[6] & 0x0f | 0x80
        uuid[8] = uuid[8] & 0x3f | 0x80
        page.put([3, 16, 0, 0] + uuid, at: 20)  // UUID
        return page
    }

    /// 16 bytes that differ between serial numbers and between namespaces: FNV-1a of both, twice.
    private func uniqueIdentifier(_ place: Int) -> [UInt8] {
        var page = DataPage(16)
        let text = "\(configuration.serialNumber)/\(place + 1)"
        for half in 0..<2 {
            var hash: UInt64 = 0xcbf2_9ce4_8422_2325 &+ UInt64(half)
            for byte in text.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
            page.put(hash, at: 8 * half)
        }
        return page.bytes
    }
}
