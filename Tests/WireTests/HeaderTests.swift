import SystemPackage
import Testing

@testable import VFIOUserWire

@Suite struct HeaderTests {
    @Test func layout() throws {
        let header = MessageHeader(
            id: 0x0102, command: .regionRead, payloadByteCount: 16, flags: .noReply)
        #expect(try encoded(header) == [2, 1, 9, 0, 32, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0])
    }
}
