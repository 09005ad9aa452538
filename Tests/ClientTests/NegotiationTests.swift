import SystemPackage
import Testing
import VFIOUserClient

struct NegotiationTests {
    @Test func offersWhatTheOptionsSay() throws {
        var options = testOptions
        options.wantsTwinSocket = true
        options.wantsWriteMultiple = true
        options.migrationPageSize = 4096
        options.pageSizes = 4096
        options.maxDMAMaps = 100
        options.minorVersion = 1
        try FakeServer.run { server in
            let request = try server.expect(Wire.version)
            #expect(request.payload.prefix(4) == [0, 0, 1, 0])
            let text = String(decoding: request.payload.dropFirst(4), as: UTF8.self)
            #expect(
                text == """
                    { "capabilities": { "max_msg_fds": 8, "max_data_xfer_size": 1048576, "migration": { "pgsize": 4096 }, \
                    "twin_socket": { "supported": true }, "write_multiple": true, "pgsizes": 4096, "max_dma_maps": 100 } }\0
                    """)
            try server.reply(to: request, bytes(UInt16(0), UInt16(1)))
        } client: { socket in
            let client = try Client(adopting: socket, options: options)
            #expect(client.server.majorVersion == 0)
            #expect(client.server.minorVersion == 1)
            #expect(client.server.capabilityText == nil)
            #expect(client.server.maxFDs == 1)
            #expect(!client.server.hasTwinSocket)
            #expect(client.maxTransfer == 1 << 20)
        }
    }
}
