import SystemPackage
import Testing

@testable import VFIOUserWire

/// A payload written by hand, byte for byte, and how this module reads and writes it.
struct Sample: Sendable, CustomTestStringConvertible {
    let name: String
    /// The payload on the wire, every field a different number.
    let bytes: [UInt8]
    /// Size of the struct in the protocol's tables.
    let size: Int
    let declaredSize: Int
    /// Decodes, encodes again, also into less space.
    let roundTrip: @Sendable ([UInt8], _ space: Int) throws(Errno) -> [UInt8]
    /// The value built by its initialiser, encoded.
    let built: @Sendable () throws(Errno) -> [UInt8]
    /// Whether the first field is argsz, which must be the struct's size.
    let hasArgsz: Bool

    var testDescription: String { name }

    init<T: WirePayload>(
        _ name: String, size: Int, argsz: Bool = true, _ value: T, _ fields: any FixedWidthInteger...
    ) {
        self.name = name
        self.size = size
        declaredSize = T.byteCount
        hasArgsz = argsz
        bytes = fields.flatMap { VFIOUserWireTests.bytes($0) }
        roundTrip = { bytes, space throws(Errno) in
            let value = try decoded(T.self, bytes)
            return try written(space: space) { writer throws(Errno) in try value.encode(into: &writer) }
        }
        built = { () throws(Errno) in try encoded(value) }
    }
}

private let wide: UInt64 = 0x1122_3344_5566_7788

/// Every struct of the protocol.
let samples: [Sample] =
    [
        Sample(
            "header", size: 16, argsz: false,
            MessageHeader(
                id: 0x0102, command: 0x8001, size: 0x0304, flags: [.reply, .error], errorNumber: 22),
            0x0102 as UInt16, 0x8001 as UInt16, 0x0304 as UInt32, 0x21 as UInt32, 22 as UInt32),
        Sample(
            "version", size: 4, argsz: false, Version(major: 7, minor: 0x102), 7 as UInt16, 0x102 as UInt16),
        Sample(
            "DMA_MAP", size: 32, DMAMap(flags: [.read, .fileIO], offset: wide, address: 5, size: 6),
            32 as UInt32, 9 as UInt32, wide, 5 as UInt64, 6 as UInt64),
        Sample(
            "DMA_UNMAP", size: 24, DMAUnmap(flags: .all, address: wide, size: 6),
            24 as UInt32, 2 as UInt32, wide, 6 as UInt64),
        Sample(
            "bitmap", size: 16, argsz: false, DMAUnmap.BitmapRequest(pageSize: wide, size: 3), wide,
            3 as UInt64),
        Sample(
            "DEVICE_GET_INFO", size: 16, DeviceInfo(flags: [.reset, .pci], regionCount: 9, irqTypeCount: 5),
            16 as UInt32, 3 as UInt32, 9 as UInt32, 5 as UInt32),
        Sample(
            "DEVICE_GET_REGION_INFO", size: 32,
            RegionInfo(index: 7, flags: [.read, .caps], capOffset: 32, size: wide, offset: 4),
            32 as UInt32, 9 as UInt32, 7 as UInt32, 32 as UInt32, wide, 4 as UInt64),
        Sample("area", size: 16, argsz: false, MappableArea(offset: wide, size: 4), wide, 4 as UInt64),
        Sample(
            "DEVICE_GET_REGION_IO_FDS", size: 16, RegionIOFDs(index: 3), 16 as UInt32, 0 as UInt32,
            3 as UInt32,
            0 as UInt32),
        Sample(
            "sub-region", size: 48, argsz: false,
            SubRegion(
                offset: wide, size: 2, fdIndex: 3, kind: .shadowIOEventFD, flags: 4, shadowFDIndex: 5,
                shadowOffset: 6,
                dataMatch: 7),
            wide, 2 as UInt64, 3 as UInt32, 2 as UInt32, 4 as UInt32, 5 as UInt32, 6 as UInt64, 7 as UInt64),
        Sample(
            "DEVICE_GET_IRQ_INFO", size: 16, IRQInfo(index: 2, flags: .eventFD, count: 33),
            16 as UInt32, 1 as UInt32, 2 as UInt32, 33 as UInt32),
        Sample(
            "DEVICE_SET_IRQS", size: 20,
            SetIRQs(flags: [.dataEventFD, .trigger], index: 2, start: 4, count: 8),
            20 as UInt32, 0x24 as UInt32, 2 as UInt32, 4 as UInt32, 8 as UInt32),
        Sample(
            "REGION_READ", size: 16, argsz: false, RegionAccess(offset: wide, region: 7, count: 256),
            wide, 7 as UInt32, 256 as UInt32),
        Sample("REGION_WRITE_MULTI", size: 8, argsz: false, RegionWriteMulti(count: wide), wide),
        Sample(
            "multi write", size: 24, argsz: false,
            RegionWriteMulti.Write(offset: 1, region: 2, count: 8, data: wide), 1 as UInt64, 2 as UInt32,
            8 as UInt32, wide
        ),
        Sample(
            "DMA_READ", size: 16, argsz: false, DMAAccess(address: wide, count: 4096), wide, 4096 as UInt64),
        Sample(
            "DEVICE_FEATURE", size: 8, DeviceFeature(.init(.dmaLoggingReport, [.get, .probe]), argsz: 40),
            40 as UInt32, 0x5_0008 as UInt32),
        Sample(
            "migration", size: 8, argsz: false, MigrationSupport(flags: [.stopCopy, .preCopy]), 5 as UInt64),
        Sample(
            "device state", size: 8, argsz: false, MigrationDeviceState(.stopCopy), 3 as UInt32, 0 as UInt32),
        Sample("MIG_DATA", size: 8, MigrationData(size: 0x1000), 0x1008 as UInt32, 0x1000 as UInt32),
        Sample(
            "logging start", size: 16, argsz: false, DMALoggingStart(pageSize: wide, rangeCount: 3), wide,
            3 as UInt32,
            0 as UInt32),
        Sample(
            "logging range", size: 16, argsz: false, DMALoggingStart.Range(iova: wide, length: 3), wide,
            3 as UInt64),
        Sample(
            "logging report", size: 24, argsz: false, DMALoggingReport(iova: wide, length: 3, pageSize: 4),
            wide, 3 as UInt64, 4 as UInt64),
    ] + ioasSamples

/// The structs of the iommufd extension.
let ioasSamples: [Sample] = [
    Sample("IOAS_ALLOC", size: 16, IOASAlloc(ioasID: 9), 16 as UInt32, 0 as UInt32, 9 as UInt32, 0 as UInt32),
    Sample(
        "IOAS_DESTROY", size: 16, IOASDestroy(ioasID: 9),
        16 as UInt32, 0 as UInt32, 9 as UInt32, 0 as UInt32),
    Sample(
        "IOAS_MAP", size: 48,
        IOASMap(
            ioasID: 9, flags: [.writeable, .fixedIOVA], userVA: wide, length: 2, iova: 3, offset: 4),
        48 as UInt32, 5 as UInt32, 9 as UInt32, 0 as UInt32, wide, 2 as UInt64, 3 as UInt64, 4 as UInt64),
    Sample(
        "IOAS_UNMAP", size: 32, IOASUnmap(ioasID: 9, flags: .all, iova: wide, length: 2),
        32 as UInt32, 1 as UInt32, 9 as UInt32, 0 as UInt32, wide, 2 as UInt64),
    Sample(
        "IOAS_COPY", size: 40,
        IOASCopy(
            sourceID: 8, destinationID: 9, flags: .readable, sourceIOVA: wide, destinationIOVA: 3, length: 4),
        40 as UInt32, 2 as UInt32, 8 as UInt32, 9 as UInt32, wide, 3 as UInt64, 4 as UInt64),
    Sample(
        "BIND", size: 16, Bind(iommufd: -2, deviceID: 1),
        16 as UInt32, 0 as UInt32, -2 as Int32, 1 as UInt32),
    Sample("ATTACH_PT", size: 16, AttachPT(ioasID: 9), 16 as UInt32, 0 as UInt32, 9 as UInt32, 0 as UInt32),
    Sample("DETACH_PT", size: 16, DetachPT(), 16 as UInt32, 0 as UInt32, 0 as UInt32, 0 as UInt32),
    Sample(
        "IOVA_RANGES", size: 24, IOVARanges(ioasID: 9), 24 as UInt32, 0 as UInt32, 9 as UInt32, 0 as UInt32,
        0 as UInt64),
    Sample("IOVA range", size: 16, argsz: false, IOVARanges.Range(start: 1, last: wide), 1 as UInt64, wide),
    Sample(
        "COMPAT_IOAS", size: 16, CompatIOAS(.clear, ioasID: 9), 16 as UInt32, 0 as UInt32, 2 as UInt32,
        9 as UInt32),
]
