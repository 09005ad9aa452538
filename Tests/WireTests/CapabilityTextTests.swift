import SystemPackage
import Testing

@testable import VFIOUserWire

@Suite struct CapabilityTextTests {
    /// The text as a string; it must end with the only NUL.
    func string(_ text: [UInt8]) throws -> String {
        #expect(text.firstIndex(of: 0) == text.count - 1)
        return String(decoding: text.dropLast(), as: UTF8.self)
    }

    @Test func leastAServerSays() throws {
        #expect(
            try string(ServerCapabilities().text())
                == #"{ "capabilities": { "max_msg_fds": 8, "max_data_xfer_size": 1048576 } }"#)
    }

    @Test func whatTheReferenceServerSays() throws {
        var server = ServerCapabilities()
        server.migrationPageSize = 4096
        server.twinSocketFDIndex = 0
        #expect(
            try string(server.text())
                == #"{ "capabilities": { "max_msg_fds": 8, "max_data_xfer_size": 1048576, "#
                + #""migration": { "pgsize": 4096 }, "twin_socket": { "supported": true, "fd_index": 0 } } }"#
        )
    }

    @Test func mostAServerSays() throws {
        var server = ServerCapabilities()
        server.writeMultiple = true
        server.pageSizes = 4096
        server.maxDMAMaps = 65535
        server.iommufd = .all
        #expect(
            try string(server.text())
                == #"{ "capabilities": { "max_msg_fds": 8, "max_data_xfer_size": 1048576, "#
                + #""write_multiple": true, "pgsizes": 4096, "max_dma_maps": 65535, "#
                + #""iommufd": { "supported": true, "x-fixed-iova": true, "#
                + #""x-copy": true, "x-iova-ranges": true, "x-compat-ioas": true, "x-reply-args": true, "#
                + #""x-message-dma": true } } }"#)
    }

    /// A client that asked for `supported` alone gets no key it did not ask for.
    @Test func baselineIOASMode() throws {
        var server = ServerCapabilities()
        server.iommufd = []
        #expect(
            try string(server.text())
                == #"{ "capabilities": { "max_msg_fds": 8, "max_data_xfer_size": 1048576, "#
                + #""iommufd": { "supported": true } } }"#)
    }

    @Test func whatAClientSays() throws {
        #expect(
            try string(ClientCapabilities().text())
                == #"{ "capabilities": { "max_msg_fds": 1, "max_data_xfer_size": 1048576 } }"#)
        var client = ClientCapabilities()
        client.maxFDs = 16
        client.migrationPageSize = 4096
        client.maxBitmapByteCount = 1 << 28
        client.wantsTwinSocket = true
        client.writeMultiple = true
        client.pageSizes = 4096
        client.maxDMAMaps = 65535
        client.iommufd = [.copy, .replyArguments]
        #expect(
            try string(client.text())
                == #"{ "capabilities": { "max_msg_fds": 16, "max_data_xfer_size": 1048576, "migration": { "#
                + #""pgsize": 4096, "max_bitmap_size": 268435456 }, "twin_socket": { "supported": true }, "#
                + #""write_multiple": true, "pgsizes": 4096, "max_dma_maps": 65535, "#
                + #""iommufd": { "supported": true, "x-copy": true, "x-reply-args": true } } }"#)
    }

    @Test func whatIsSaidIsUnderstood() throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        var generator = SeededGenerator(seed: seed)
        func optional<T>(_ value: T) -> T? { Bool.random(using: &generator) ? value : nil }
        for _ in 0..<500 {
            var client = ClientCapabilities()
            client.maxFDs = Int.random(in: 0...1024, using: &generator)
            client.maxTransferByteCount = Int.random(in: 1...1_048_576, using: &generator)
            client.migrationPageSize = optional(Int64.random(in: Int64.min...Int64.max, using: &generator))
            client.maxBitmapByteCount = optional(Int64.random(in: Int64.min...Int64.max, using: &generator))
            client.wantsTwinSocket = Bool.random(using: &generator)
            client.writeMultiple = Bool.random(using: &generator)
            client.pageSizes = optional(Int64.random(in: Int64.min...Int64.max, using: &generator))
            client.maxDMAMaps = optional(Int64.random(in: Int64.min...Int64.max, using: &generator))
            client.iommufd = optional(IOASFeatures(rawValue: UInt32.random(in: 0..<64, using: &generator)))
            #expect(try VFIOUserWireTests.client(client.text()) == client, "seed \(seed)")

            var server = ServerCapabilities()
            server.maxFDs = client.maxFDs
            server.maxTransferByteCount = client.maxTransferByteCount
            server.migrationPageSize = optional(1 << Int64.random(in: 0...62, using: &generator))
            server.twinSocketFDIndex = optional(Int.random(in: 0..<1024, using: &generator))
            server.writeMultiple = client.writeMultiple
            server.pageSizes = optional(Int64.random(in: 1...Int64.max, using: &generator))
            server.maxDMAMaps = optional(Int64.random(in: 1...Int64.max, using: &generator))
            server.iommufd = client.iommufd
            #expect(try VFIOUserWireTests.server(server.text()) == server, "seed \(seed)")
        }
    }

    @Test func wholePayload() throws {
        let payload = try written { writer throws(Errno) in
            try Version(major: 0, minor: 1).encode(into: &writer)
            try ServerCapabilities().encode(into: &writer)
        }
        #expect(payload == [0, 0, 1, 0] + (try ServerCapabilities().text()))
        let client = try written { writer throws(Errno) in try ClientCapabilities().encode(into: &writer) }
        #expect(try client == ClientCapabilities().text())
        for space in 0..<client.count {
            #expect(throws: Errno.noBufferSpace) {
                try written(space: space) { writer throws(Errno) in
                    try ClientCapabilities().encode(into: &writer)
                }
            }
        }
    }
}
