import SystemPackage
import Testing
import VFIOUserWire

@testable import VFIOUserServer

/// Section "Negotiation" of the extension.
@Suite struct IOASNegotiationTests {
    static let baseline = #"{"capabilities":{"iommufd":{"supported":true}}}"#

    @Test func baselineGetsWhatItOffered() throws {
        let session = try IOASSession()
        #expect(session.server.usesIOAS == nil)
        try session.negotiate(Self.baseline)
        #expect(session.server.usesIOAS == true)
        #expect(session.granted.iommufd == [])
        #expect(session.versionText.hasSuffix(#""iommufd": { "supported": true } } }"#))
        session.leave()
        #expect(errno(ioas: { _ = try session.server.poll() }) == .socketNotConnected)
        #expect(session.server.usesIOAS == nil)
    }

    @Test(arguments: [
        "", #""iommufd":{}"#, #""iommufd":{"supported":false}"#, #""iommufd":{"x-copy":true}"#,
    ])
    func notOffered(_ text: String) throws {
        let session = try IOASSession()
        try session.negotiate("{\"capabilities\":{\(text)}}")
        #expect(session.server.usesIOAS == false)
        #expect(!session.versionText.contains("iommufd"))
    }

    @Test(arguments: [
        #"{"supported":1}"#, #"{"supported":"true"}"#, "[]", "true", "null",
        #"{"supported":true,"x-copy":1}"#,
        #"{"supported":false,"x-fixed-iova":"yes"}"#,
    ])
    func malformed(_ text: String) throws {
        let session = try IOASSession()
        let json = "{\"capabilities\":{\"iommufd\":\(text)}}"
        #expect(errno(ioas: { try session.negotiate(json) }) == .invalidArgument)
        #expect(try session.receive().error == .invalidArgument)
        // For a policy that does not know the key it is just another one.
        let other = try IOASSession(policy: .off)
        try other.negotiate(json)
        #expect(other.server.usesIOAS == false)
    }

    @Test func features() throws {
        let session = try IOASSession()
        try session.negotiate(
            #"{"capabilities":{"iommufd":{"supported":true,"x-copy":true,"x-reply-args":false,"x-new":7}}}"#)
        #expect(session.granted.iommufd == .copy)
        let all = try IOASSession(features: .all)
        #expect(all.granted.iommufd == .all)
    }

    @Test func policies() throws {
        let off = try IOASSession(policy: .off)
        try off.negotiate(Self.baseline)
        #expect(off.server.usesIOAS == false && off.granted.iommufd == nil)

        let required = try IOASSession(policy: .require)
        #expect(errno(ioas: { try required.negotiate("{}") }) == .notSupported)
        #expect(try required.receive().error == .notSupported)
        #expect(required.log.contains { $0.contains("iommufd") && $0.contains("requires") })

        let content = try IOASSession(policy: .require)
        try content.negotiate(Self.baseline)
        #expect(content.server.usesIOAS == true)
    }

    @Test func withoutDMA() throws {
        let session = try IOASSession(dma: false)
        try session.negotiate(Self.baseline)
        #expect(session.server.usesIOAS == false && session.granted.iommufd == nil)
        #expect(errno(ioas: { _ = try IOASSession(policy: .require, dma: false) }) == .invalidArgument)
    }

    @Test func settingsCloseWithRealize() throws {
        let session = try IOASSession()
        #expect(errno(ioas: { try session.server.setIOASPolicy(.off) }) == .invalidArgument)
        #expect(errno(ioas: { try session.server.setIOVALimits(.none) }) == .invalidArgument)
        #expect(errno(ioas: { _ = try IOVALimits(ranges: []) }) == .invalidArgument)
        #expect(errno(ioas: { _ = try IOVALimits(ranges: [0...1], alignment: 3) }) == .invalidArgument)
        #expect(errno(ioas: { _ = try IOVALimits(ranges: [0...1], alignment: 8192) }) == .invalidArgument)
        #expect(errno(ioas: { _ = try IOVALimits(ranges: [0...1], alignment: 0) }) == .invalidArgument)
    }

    /// In legacy mode the commands are as unknown as 14.
    @Test(arguments: [
        Command.ioasAlloc, .ioasDestroy, .ioasMap, .ioasUnmap, .ioasCopy, .bind, .attachPT, .detachPT,
        .iovaRanges, .compatIOAS,
    ])
    func legacyKnowsNoCommand(_ command: Command) throws {
        let session = try IOASSession(features: nil)
        for count in [0, 1, 16, 48, 100] {
            let payload = [UInt8](repeating: 0, count: count)
            #expect(try session.call(command, payload).error == .invalidArgument)
        }
        #expect(session.device.takeEvents() == [])
    }

    @Test func nextClientNegotiatesAfresh() throws {
        // Of one server after the other, since a connected socket has one client.
        for features in [IOASFeatures.all, nil, .copy] as [IOASFeatures?] {
            let session = try IOASSession(features: features)
            #expect(session.server.usesIOAS == (features != nil))
            #expect(session.granted.iommufd == features)
        }
    }
}
