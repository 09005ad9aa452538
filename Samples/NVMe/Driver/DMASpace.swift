internal import SystemPackage
public import VFIOUserClient

/// Memory that both the program and the controller see.
public struct DMABuffer: Sendable {
    /// The memory in this process.
    public let memory: MappedMemory
    /// Where the controller sees its first byte. Memory of any size is contiguous there too.
    public let iova: UInt64
    /// Bytes.
    public var count: Int { memory.count }
}

/// How memory becomes visible to the controller.
public enum MemoryMode: String, Sendable {
    /// DMA_MAP: at addresses that the driver chooses.
    case legacy
    /// An I/O address space (IOAS) at the server, attached to the device; the server chooses the addresses.
    case ioas
}

/// The controller's view of this process's memory, in either mode.
final class DMASpace {
    let mode: MemoryMode
    private let client: Client
    private let sharing: Client.DMASharing
    private var ioas: Client.IOAS?
    /// Legacy mode: where the next buffer goes.
    private var nextIOVA: UInt64 = 1 << 32

    /// - Throws: those of allocating and attaching an address space.
    init(_ client: Client, _ mode: MemoryMode, _ sharing: Client.DMASharing) throws(NVMeError) {
        self.client = client
        self.mode = mode
        self.sharing = sharing
        guard mode == .ioas else { return }
        ioas = try connection { () throws(Errno) in
            let ioas = try client.allocateIOAS()
            try client.attach(ioas)
            return ioas
        }
    }

    /// Makes memory and maps it. Where the server chooses the address, it is one at the beginning of a page.
    ///
    /// - Throws: `.connection` with the errno of making memory, or of the server.
    func make(_ count: Int) throws(NVMeError) -> DMABuffer {
        try connection { () throws(Errno) in
            let page = DataPointer.pageSize
            guard count > 0, count <= 1 << 40 else { throw .invalidArgument }
            let memory = try DMAMemory(count: (count + page - 1) / page * page)
            guard let ioas else {
                let iova = nextIOVA
                try client.map(memory, at: iova, sharing: sharing)
                // Neighbours do not touch, so that an access beyond a buffer fails.
                nextIOVA += UInt64(memory.count + page)
                return DMABuffer(memory: memory.memory, iova: iova)
            }
            let iova = try client.map(memory, into: ioas, sharing: sharing)
            // The offset in the file is 0, and the IOVA keeps the place in the page.
            guard iova & UInt64(page - 1) == 0 else { throw .protocolError }
            return DMABuffer(memory: memory.memory, iova: iova)
        }
    }

    /// Takes a buffer away from the controller.
    func remove(_ buffer: DMABuffer) throws(NVMeError) {
        try connection { () throws(Errno) in
            if let ioas {
                try client.unmap(buffer.iova, size: UInt64(buffer.count), from: ioas)
            } else {
                try client.unmap(buffer.iova, size: UInt64(buffer.count))
            }
        }
    }

    /// Takes everything away from the controller.
    func removeAll() throws(NVMeError) {
        try connection { () throws(Errno) in
            guard let ioas else { return try client.unmapAll() }
            try client.detach()
            try client.destroy(ioas)
            self.ioas = nil
        }
    }
}
