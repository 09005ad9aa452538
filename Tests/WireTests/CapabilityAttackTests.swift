import Glibc
import SystemPackage
import Testing
import VFIOUserTestSupport

@testable import VFIOUserWire

/// Text meant to hurt.
@Suite struct CapabilityAttackTests {
    static let seedText =
        #"{"capabilities":{"max_msg_fds":8,"max_data_xfer_size":1048576,"migration":{"pgsize":4096},"#
        + #""twin_socket":{"supported":true,"fd_index":0},"write_multiple":true,"pgsizes":4096,"#
        + #""max_dma_maps":7,"iommufd":{"supported":true,"x-copy":true,"x-fixed-iova":false}}}"#

    /// Both parsers may accept or refuse, but nothing else.
    static func parse(_ bytes: [UInt8]) throws(Errno) {
        var refusal: Errno?
        do throws(Errno) { _ = try client(bytes) } catch { refusal = error }
        do throws(Errno) { _ = try server(bytes) } catch { refusal = refusal ?? error }
        if let refusal { throw refusal }
    }

    @Test func length() throws {
        let text = Array("{}".utf8)
        #expect(throws: Never.self) {
            try client(text + [UInt8](repeating: UInt8(ascii: " "), count: 65533) + [0])
        }
        #expect(throws: Errno.invalidArgument) {
            try client(text + [UInt8](repeating: UInt8(ascii: " "), count: 65534) + [0])
        }
        // Even if the text itself is short.
        #expect(throws: Errno.invalidArgument) { try client(text + [UInt8](repeating: 0, count: 1 << 20)) }
    }

    @Test(arguments: [("[", "]"), ("{\"a\":", "}")]) func nesting(_ open: String, _ close: String) throws {
        func nested(_ depth: Int) -> String {
            String(repeating: open, count: depth) + "1" + String(repeating: close, count: depth)
        }
        #expect(try client(nested(20)) == ClientCapabilities())
        #expect(throws: Errno.invalidArgument) { try client(nested(40)) }
        #expect(throws: Errno.invalidArgument) { try client(nested(65535 / (open.utf8.count + 1) - 1)) }
        #expect(throws: Errno.invalidArgument) { try client(String(repeating: open, count: 13_000)) }
    }

    @Test func manyMembers() throws {
        let members = (0..<5000).map { "\"k\($0)\":\($0)" }.joined(separator: ",")
        #expect(try client("{\"capabilities\":{\(members),\"max_msg_fds\":3}}").maxFDs == 3)
        let array = "[" + [String](repeating: "0", count: 30_000).joined(separator: ",") + "]"
        #expect(try client(array) == ClientCapabilities())
    }

    @Test func longNumbersAndStrings() throws {
        let digits = String(repeating: "9", count: 60_000)
        #expect(throws: Errno.invalidArgument) {
            try client("{\"capabilities\":{\"max_msg_fds\":\(digits)}}")
        }
        #expect(try client("{\"\(digits)\":\"\(digits.prefix(4000))\"}") == ClientCapabilities())
        #expect(try client("{\"a\":\"\\ud800\\udc00\\ud800 \\u0000\"}") == ClientCapabilities())
        // json-c ends a key at a NUL, so this is `capabilities`.
        #expect(throws: Errno.invalidArgument) { try client("{\"capabilities\\u0000x\":5}") }
    }

    @Test func everyTruncation() {
        let text = Array(Self.seedText.utf8)
        for length in 1..<text.count {
            #expect(throws: Errno.invalidArgument, "\(length) bytes") {
                try client(Array(text[..<length]) + [0])
            }
        }
        #expect(throws: Never.self) { try Self.parse(text + [0]) }
    }

    @Test func randomBytes() {
        let seed = UInt64.random(in: 0...UInt64.max)
        var generator = SeededGenerator(seed: seed)
        for _ in 0..<5000 {
            let bytes = generator.bytes(Int.random(in: 0...64, using: &generator)) + [0]
            do throws(Errno) { try Self.parse(bytes) } catch {
                #expect(error == .invalidArgument, "seed \(seed), \(bytes)")
            }
        }
    }

    @Test func mutatedText() {
        let seed = UInt64.random(in: 0...UInt64.max)
        var generator = SeededGenerator(seed: seed)
        let fragments = [
            "null", "{", "}", "[", "]", "\"", ":", ",", "-", "1e9", "true", "\\u0000", "//", "/*", "'", "\0",
            "NaN",
        ]
        var accepted = 0
        for _ in 0..<10_000 {
            var text = Array(Self.seedText.utf8)
            for _ in 0..<Int.random(in: 1...3, using: &generator) {
                let start = Int.random(in: 0..<text.count, using: &generator)
                let end = min(text.count, start + Int.random(in: 0...8, using: &generator))
                switch Int.random(in: 0..<3, using: &generator) {
                case 0: text[start] = UInt8.random(in: 0...255, using: &generator)
                case 1:
                    text.replaceSubrange(
                        start..<end, with: fragments.randomElement(using: &generator)?.utf8 ?? "".utf8)
                default:
                    text.insert(
                        contentsOf: text[start..<end], at: Int.random(in: 0...text.count, using: &generator))
                }
            }
            do throws(Errno) {
                try Self.parse(text + [0])
                accepted += 1
            } catch {
                #expect(error == .invalidArgument, "seed \(seed), \(String(decoding: text, as: UTF8.self))")
            }
        }
        #expect(accepted > 10, "seed \(seed)")
    }

    /// In a process of its own, where nothing else allocates.
    @Test(.disabled(if: isSanitized, "AddressSanitizer keeps freed memory, and finds leaks itself"))
    func nothingLeaks() async {
        await #expect(processExitsWith: .success) {
            CapabilityAttackTests.rounds(500)
            // One object of json-c kept in each round would be over 130 pages in every batch; what the process needs for
            // itself it takes once.
            for _ in 0..<4 {
                let before = try residentPages()
                CapabilityAttackTests.rounds(8000)
                if try residentPages() < before + 64 { exit(0) }
            }
            exit(1)
        }
    }

    private static func rounds(_ count: Int) {
        let text = Array(seedText.utf8)
        var capabilities = ServerCapabilities()
        capabilities.iommufd = .all
        capabilities.migrationPageSize = 4096
        for index in 0..<count {
            try? parse(text + [0])
            try? parse(Array(text[..<(index % text.count)]) + [0])
            _ = try? client(#"{"capabilities":{"iommufd":{"supported":1}}}"#)
            _ = try? capabilities.text()
        }
    }
}

/// Pages of memory this process has.
private func residentPages() throws -> Int {
    let file = try FileDescriptor.open("/proc/self/statm" as FilePath, .readOnly)
    let text = try file.closeAfter {
        var text = [UInt8](repeating: 0, count: 256)
        // The buffer is valid during the call.
        let count = try unsafe text.withUnsafeMutableBytes { buffer in try unsafe file.read(into: buffer) }
        return String(decoding: text[..<count], as: UTF8.self)
    }
    return try #require(Int(text.split(separator: " ")[1]))
}
