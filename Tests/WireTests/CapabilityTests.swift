import SystemPackage
import Testing

@testable import VFIOUserWire

@Suite struct CapabilityTests {
    @Test func defaults() throws {
        let client = ClientCapabilities()
        #expect((client.maxFDs, client.maxTransferByteCount) == (1, 1_048_576))
        #expect(client.migrationPageSize == nil)
        #expect(!client.wantsTwinSocket && !client.writeMultiple)
        #expect(client.iommufd == nil)
        #expect(try VFIOUserWireTests.client([UInt8]()) == client)
        #expect(try server([UInt8]()).maxFDs == 1)
        #expect(ServerCapabilities().maxFDs == 8)
    }

    @Test(arguments: silentTexts) func silence(_ text: String) throws {
        #expect(try client(text) == ClientCapabilities())
        #expect(try server(text) == server([UInt8]()))
    }

    @Test(arguments: malformedTexts) func malformed(_ text: String) {
        #expect(throws: Errno.invalidArgument) { try client(text) }
        #expect(throws: Errno.invalidArgument) { try server(text) }
    }

    @Test(arguments: malformedIOMMUFD) func malformedExtension(_ text: String) throws {
        #expect(throws: Errno.invalidArgument) { try client(text) }
        #expect(throws: Errno.invalidArgument) { try server(text) }
        #expect(try client(text, readingIOMMUFD: false) == ClientCapabilities())
        #expect(try server(text, readingIOMMUFD: false) == server([UInt8]()))
    }

    @Test func lastByteIsNUL() {
        #expect(throws: Errno.invalidArgument) { try client(Array("{}".utf8)) }
        #expect(throws: Errno.invalidArgument) { try client(Array("{}\0x".utf8)) }
        #expect(throws: Errno.invalidArgument) { try client([0]) }
        #expect(throws: Errno.invalidArgument) { try client([UInt8(ascii: "5")]) }
    }

    /// QEMU 11.1's VERSION.
    @Test func qemu() throws {
        let text = """
            {"capabilities": {"pgsizes": 4096, "max_msg_fds": 16, "max_dma_maps": 65535, \
            "max_data_xfer_size": 1048576, "migration": {"max_bitmap_size": 268435456, "pgsize": 4096}, \
            "write_multiple": true}}
            """
        let client = try client(text)
        var expected = ClientCapabilities()
        expected.maxFDs = 16
        expected.maxTransferByteCount = 1_048_576
        expected.migrationPageSize = 4096
        expected.maxBitmapByteCount = 268_435_456
        expected.writeMultiple = true
        expected.pageSizes = 4096
        expected.maxDMAMaps = 65535
        #expect(client == expected)
    }

    @Test(arguments: ["\"pgsizes\": \"x\"", "\"max_dma_maps\": null", "\"write_multiple\": 1"])
    func keysTheReferenceIgnores(_ member: String) throws {
        #expect(try client("{\"capabilities\": {\(member)}}") == ClientCapabilities())
        #expect(throws: Errno.invalidArgument) { try server("{\"capabilities\": {\(member)}}") }
    }

    @Test(
        arguments: [
            ("1", 1), ("1048576", 1_048_576), ("1048577", 1_048_576), ("4294967296", 1_048_576),
            ("9223372036854775807", 1_048_576), ("18446744073709551615", 1_048_576),
            ("99999999999999999999999999", 1_048_576),
        ])
    func maxTransfer(_ text: String, _ expected: Int) throws {
        let text = "{\"capabilities\": {\"max_data_xfer_size\": \(text)}}"
        #expect(try client(text).maxTransferByteCount == expected)
        #expect(try server(text).maxTransferByteCount == expected)
    }

    @Test(arguments: [0, 1, 8, 1024]) func maxFDs(_ count: Int) throws {
        let text = "{\"capabilities\": {\"max_msg_fds\": \(count)}}"
        #expect(try client(text).maxFDs == count)
        #expect(try server(text).maxFDs == count)
    }

    @Test func lastOfEqualKeysCounts() throws {
        #expect(try client("{\"capabilities\": {\"max_msg_fds\": \"x\", \"max_msg_fds\": 2}}").maxFDs == 2)
    }

    @Test(arguments: [-1, 0, 4096, 5, Int64.max]) func pageSizeOfAClientIsNotJudged(_ size: Int64) throws {
        #expect(
            try client("{\"capabilities\": {\"migration\": {\"pgsize\": \(size)}}}").migrationPageSize == size
        )
    }

    @Test(arguments: [-4096, 0, 4097, Int64.min, Int64.max]) func pageSizeOfAServerIs(_ size: Int64) {
        #expect(throws: Errno.invalidArgument) {
            try server("{\"capabilities\": {\"migration\": {\"pgsize\": \(size)}}}")
        }
    }

    @Test(
        arguments: [
            "{\"supported\": true}", "{\"supported\": true, \"fd_index\": -1}",
            "{\"supported\": true, \"fd_index\": 1024}", "{\"supported\": true, \"fd_index\": 4294967296}",
            "{\"supported\": true, \"fd_index\": \"0\"}", "{\"supported\": false, \"fd_index\": null}",
        ])
    func twinSocketOfAServer(_ twin: String) {
        #expect(throws: Errno.invalidArgument) {
            try server("{\"capabilities\": {\"twin_socket\": \(twin)}}")
        }
    }

    @Test func twinSocketNotGranted() throws {
        let text = "{\"capabilities\": {\"twin_socket\": {\"supported\": false, \"fd_index\": 0}}}"
        #expect(try server(text).twinSocketFDIndex == nil)
    }

    @Test(arguments: ["pgsizes", "max_dma_maps"]) func countsOfAServerArePositive(_ key: String) {
        for value in [0, -1, Int64.min] {
            #expect(throws: Errno.invalidArgument) {
                try server("{\"capabilities\": {\"\(key)\": \(value)}}")
            }
        }
    }

    @Test(
        arguments: [
            ("x-fixed-iova", .fixedIOVA), ("x-copy", .copy), ("x-iova-ranges", .iovaRanges),
            ("x-compat-ioas", .compatIOAS), ("x-reply-args", .replyArguments), ("x-message-dma", .messageDMA),
        ] as [(String, IOASFeatures)])
    func features(_ key: String, _ feature: IOASFeatures) throws {
        let text =
            "{\"capabilities\": {\"iommufd\": {\"supported\": true, \"\(key)\": true, \"x-more\": true}}}"
        #expect(try client(text).iommufd == feature)
        #expect(try server(text).iommufd == feature)
        #expect(try client(text, readingIOMMUFD: false).iommufd == nil)
        #expect(try client("{\"capabilities\": {\"iommufd\": {\"supported\": true}}}").iommufd == [])
    }
}
