import SystemPackage
import Testing

@testable import VFIOUserWire

@Suite struct HeaderTests {
    @Test func commandsHaveTheirNumbers() {
        #expect(
            Command.allCases.map(\.rawValue) == Array(1...13) + Array(15...26) + [0x8001, 0x8002])
        #expect(Command(rawValue: 0) == nil)
        #expect(Command(rawValue: 14) == nil)
        #expect(Command(rawValue: 27) == nil)
    }

    @Test func limits() {
        #expect(Limits.maxMessageByteCount == 1_048_608)
        #expect(Limits.maxTransferByteCount == 1 << 20)
        #expect(
            Limits.maxMessageByteCount
                == MessageHeader.byteCount + RegionAccess.byteCount + Limits.maxTransferByteCount)
        #expect(Limits.defaultMaxFDs == 8)
    }

    @Test func flagBits() {
        let flags = MessageHeader.Flags(rawValue: 0xffff_fff2)
        #expect(flags.messageType == 2)
        #expect(!flags.isCommand && !flags.isReply)
        #expect(flags.contains(.noReply) && flags.contains(.error))
        #expect(MessageHeader.Flags([]).isCommand)
        #expect(MessageHeader.Flags([.reply, .error]).isReply)
        // 3 has the reply bit and is not a reply.
        #expect(!MessageHeader.Flags(rawValue: 3).isReply)
    }

    @Test func replies() throws {
        let command = MessageHeader(id: 0xbeef, command: 14, size: 20, flags: .noReply, errorNumber: 9)
        #expect(
            try encoded(command.reply(payloadByteCount: 32))
                == bytes(0xbeef as UInt16, 14 as UInt16, 48 as UInt32, 1 as UInt32, 0 as UInt32))
        #expect(
            try encoded(command.errorReply(.noSuchFileOrDirectory))
                == bytes(0xbeef as UInt16, 14 as UInt16, 16 as UInt32, 0x21 as UInt32, 2 as UInt32))
        #expect(
            MessageHeader(id: 1, command: .version, payloadByteCount: 4)
                == MessageHeader(id: 1, command: 1, size: 20))
        #expect(MessageHeader(id: 1, command: .version, payloadByteCount: .max).size == .max)
    }

    @Test(arguments: [0, 1, 15, 1_048_609, UInt32.max]) func impossibleSize(_ size: UInt32) {
        let header = MessageHeader(id: 0, command: 13, size: size)
        #expect(throws: Errno.invalidArgument) { try header.payloadByteCount() }
    }

    @Test(arguments: [(16, 0), (17, 1), (1_048_608, 1_048_592)] as [(UInt32, Int)])
    func possibleSize(_ size: UInt32, _ payload: Int) throws {
        #expect(try MessageHeader(id: 0, command: 13, size: size).payloadByteCount() == payload)
    }

    @Test(arguments: [(0, 22), (1, 1), (4096, 4096), (4097, 22), (UInt32.max, 22)] as [(UInt32, CInt)])
    func errorOfAReply(_ number: UInt32, _ expected: CInt) {
        let header = MessageHeader(
            id: 0, command: 13, size: 16, flags: [.reply, .error], errorNumber: number)
        #expect(header.error == Errno(rawValue: expected))
    }

    @Test func versions() throws {
        #expect(try Version(major: 0, minor: 0).negotiated() == Version(major: 0, minor: 0))
        #expect(try Version(major: 0, minor: 1).negotiated() == Version(major: 0, minor: 1))
        #expect(try Version(major: 0, minor: .max).negotiated() == Version.current)
        #expect(Version.current == Version(major: 0, minor: 2))
        #expect(throws: Errno.invalidArgument) { try Version(major: 1, minor: 0).negotiated() }
    }
}
