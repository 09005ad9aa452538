import SystemPackage
import Testing
import VFIOUserClient
import VFIOUserServer

/// The same device program over every way to map memory: the same bytes.
struct ModeTests {
    /// How the client maps its memory, and where IOVAs come from.
    enum Mode: CaseIterable, Sendable {
        case legacy
        case serverAddress
        case opaque
        /// Opaque IOVAs for others; the client chooses its own.
        case fixed
        /// DMA_MAP in IOAS mode.
        case compatibility
        /// Mapped aside, and copied to the address space that the device sees.
        case copied

        var iovas: IOVAPolicy { self == .serverAddress ? .serverAddress : .opaque() }
        var options: ClientOptions { self == .legacy ? .patient : .ioas(.all) }
    }

    /// What a program leaves behind.
    private struct Outcome: Equatable {
        var memory: [[UInt8]] = []
        var buffer: [UInt8] = []
        /// The errno of each command.
        var statuses: [Errno?] = []
    }

    private static let sizes = [0x3000, 0x10000, 0x1001]
    /// What the device may do with each.
    private static let rights: [Client.DMARights] = [.readWrite, .readWrite, .read]

    /// Maps all memory.
    ///
    /// - Returns: the IOVA of each.
    private func map(
        _ memory: (Int) throws -> MappedPart, _ mode: Mode, _ sharing: Client.DMASharing, _ client: Client
    ) throws -> [UInt64] {
        var spaces: [Client.IOAS] = []
        if mode != .legacy {
            spaces = [try client.allocateIOAS(), try client.allocateIOAS()]
            try client.attach(spaces[0])
        }
        if mode == .compatibility { try client.setCompatibilityIOAS(spaces[0]) }
        return try Self.sizes.indices.map { index in
            let part = try memory(index)
            let (size, rights) = (UInt64(Self.sizes[index]), Self.rights[index])
            let fixed = 0x4_0000_0000 + UInt64(index) << 20
            switch mode {
            case .legacy, .compatibility:
                try part.map { try client.map($0, at: fixed, range: $1, rights: rights, sharing: sharing) }
                return fixed
            case .fixed:
                return try part.map {
                    try client.map(
                        $0, into: spaces[0], at: fixed, range: $1, rights: rights, sharing: sharing)
                }
            case .serverAddress, .opaque:
                return try part.map {
                    try client.map($0, into: spaces[0], range: $1, rights: rights, sharing: sharing)
                }
            case .copied:
                let iova = try part.map { try client.map($0, into: spaces[1], range: $1, sharing: sharing) }
                return try client.copy(iova, size: size, from: spaces[1], to: spaces[0], rights: rights)
            }
        }
    }

    /// A part of memory that cannot be copied about.
    private final class MappedPart {
        private let memory: DMAMemory
        private let range: Range<Int>

        /// `slack` bytes in front of it belong to nobody.
        init(_ bytes: [UInt8], slack: Int) throws {
            memory = try DMAMemory(count: bytes.count + slack)
            range = slack..<slack + bytes.count
            try memory.write(bytes, at: slack)
        }

        @discardableResult
        func map<Result>(_ body: (borrowing DMAMemory, Range<Int>) throws -> Result) throws -> Result {
            try body(memory, range)
        }

        func bytes() throws -> [UInt8] { try memory.read(at: range.lowerBound, count: range.count) }
    }

    private func run(
        _ mode: Mode, _ sharing: Client.DMASharing, seed: UInt64
    ) throws -> (Outcome, model: Outcome) {
        let device = try EngineDevice()
        let host = try Host(device, .socketPair) { server in
            try device.configure(server)
            try server.setIOASPolicy(.auto, iovas: mode.iovas)
        }
        return try withClient(of: host, mode.options) { client in
            let start = Self.sizes.indices.map { [UInt8].pattern(Self.sizes[$0], seed: $0) }
            // The last two begin in the middle of a page.
            let parts = try start.indices.map { try MappedPart(start[$0], slack: $0 * 0x123) }
            let iovas = try map({ parts[$0] }, mode, sharing, client)
            #expect(try client.counter(EngineDevice.Register.regions) == 3)
            var model = Outcome(memory: start, buffer: [UInt8](repeating: 0, count: 0x10000))
            var outcome = Outcome()

            var random = SeededGenerator(seed: seed)
            for _ in 0..<400 {
                let index = Int.random(in: 0..<3, using: &random)
                let place = Int.random(in: 0..<Self.sizes[index], using: &random)
                let count = Int.random(in: 1...Self.sizes[index] - place, using: &random)
                let command = UInt32.random(in: 1...3, using: &random)
                let how = Bool.random(using: &random) ? EngineDevice.Command.byMessage : 0
                // Now and then an address that is mapped nowhere.
                let isMapped = Int.random(in: 0..<20, using: &random) > 0
                let iova = isMapped ? iovas[index] + UInt64(place) : UInt64(place % 0x800)
                outcome.statuses.append(try client.engine(command | how, iova, count))

                let isRefused = command != EngineDevice.Command.load && !Self.rights[index].contains(.write)
                model.statuses.append(
                    !isMapped ? .noSuchFileOrDirectory : isRefused ? .permissionDenied : nil)
                guard isMapped, !isRefused else { continue }
                let range = place..<place + count
                switch command {
                case EngineDevice.Command.load:
                    model.buffer.replaceSubrange(0..<count, with: model.memory[index][range])
                case EngineDevice.Command.store:
                    model.memory[index].replaceSubrange(range, with: model.buffer[..<count])
                default:
                    model.memory[index].replaceSubrange(range, with: model.memory[index][range].map { ~$0 })
                }
            }
            outcome.memory = try parts.map { try $0.bytes() }
            outcome.buffer = try client.read(.bar1, at: 0, count: 0x10000)
            return (outcome, model)
        }
    }

    @Test(arguments: Mode.allCases, [Client.DMASharing.file, .messages])
    func sameBytes(_ mode: Mode, _ sharing: Client.DMASharing) throws {
        let seed = UInt64.random(in: 0 ... .max)
        let (outcome, model) = try run(mode, sharing, seed: seed)
        #expect(outcome.statuses == model.statuses, "seed \(seed)")
        #expect(outcome.memory == model.memory, "seed \(seed)")
        #expect(outcome.buffer == model.buffer, "seed \(seed)")
        let (legacy, _) = try run(.legacy, .file, seed: seed)
        #expect(outcome == legacy, "seed \(seed)")
    }
}
