import SystemPackage
import Testing

@testable import VFIOUserWire

/// Capabilities of a client from its text, to which a NUL is added.
func client(_ text: String, readingIOMMUFD: Bool = true) throws(Errno) -> ClientCapabilities {
    try client(Array(text.utf8) + [0], readingIOMMUFD: readingIOMMUFD)
}

func client(_ bytes: [UInt8], readingIOMMUFD: Bool = true) throws(Errno) -> ClientCapabilities {
    try reading(bytes) { reader throws(Errno) in
        try ClientCapabilities(decoding: &reader, readingIOMMUFD: readingIOMMUFD)
    }
}

/// Capabilities of a server from its text, to which a NUL is added.
func server(_ text: String, readingIOMMUFD: Bool = true) throws(Errno) -> ServerCapabilities {
    try server(Array(text.utf8) + [0], readingIOMMUFD: readingIOMMUFD)
}

func server(_ bytes: [UInt8], readingIOMMUFD: Bool = true) throws(Errno) -> ServerCapabilities {
    try reading(bytes) { reader throws(Errno) in
        try ServerCapabilities(decoding: &reader, readingIOMMUFD: readingIOMMUFD)
    }
}

/// Texts that say nothing, whoever sends them.
let silentTexts = [
    "{}", "[]", "5", "-1.5", "\"x\"", "true", "false", "[{\"capabilities\": 5}]", "{\"Capabilities\": 5}",
    "{\"capabilities\": {}}", "{\"capabilities\": {\"unknown\": null, \"other\": [1, {}]}, \"more\": 1}",
    "{} garbage", "{}}", "5 6", "{\"capabilities\": {}} {\"capabilities\": 5}", " \n\t{}", "{}\0{\"",
    "{}\0\0\0",
    "{\"migration\": 5, \"max_msg_fds\": \"x\"}", "{\"capabilities\": {\"migration\": {}}}",
    "{\"capabilities\": {\"migration\": {\"unknown\": true}}}",
    "{\"capabilities\": {\"twin_socket\": {}}}",
    "{\"capabilities\": {\"twin_socket\": {\"supported\": false}}}",
    "{\"capabilities\": {\"iommufd\": {}}}", "{\"capabilities\": {\"iommufd\": {\"supported\": false}}}",
    "{\"capabilities\": {\"iommufd\": {\"x-copy\": true, \"later\": 7}}}",
]

/// Texts nobody accepts.
let malformedTexts =
    [
        "", " ", "null", "{", "{\"capabilities\"", "{\"capabilities\": }", "{\"capabilities\": {}", "[",
        "\"x", "x", "}",
        "nul", "tru", "{]", "{\"a\" 1}", "{1: 2}", "\0", "\0{}", "\u{1}",
        "{\"capabilities\": null}", "{\"capabilities\": []}", "{\"capabilities\": 5}",
        "{\"capabilities\": \"x\"}", "{\"capabilities\": true}", "{\"capabilities\": 1.5}",
    ]
    + ["max_msg_fds", "max_data_xfer_size"].flatMap { wrongIntegers($0) { "{\"capabilities\": \($0)}" } }
    + wrongIntegers("pgsize") { "{\"capabilities\": {\"migration\": \($0)}}" }
    + ["supported"].flatMap { wrongBooleans($0) { "{\"capabilities\": {\"twin_socket\": \($0)}}" } }
    + ["migration", "twin_socket"].flatMap(wrongObjects)
    + ["-1", "1025", "4294967296", "4294967297", "9223372036854775808", "99999999999999999999999"].map {
        "{\"capabilities\": {\"max_msg_fds\": \($0)}}"
    }
    + ["0", "-1", "-4294967295", "-9223372036854775808", "-99999999999999999999"].map {
        "{\"capabilities\": {\"max_data_xfer_size\": \($0)}}"
    }

/// Texts with an object `iommufd` nobody accepts who reads it.
let malformedIOMMUFD =
    wrongObjects("iommufd")
    + [
        "supported", "x-fixed-iova", "x-copy", "x-iova-ranges", "x-compat-ioas", "x-reply-args",
        "x-message-dma",
    ]
    .flatMap { wrongBooleans($0) { "{\"capabilities\": {\"iommufd\": \($0)}}" } }

private func wrongIntegers(_ key: String, _ around: (String) -> String) -> [String] {
    ["null", "\"8\"", "8.0", "1e3", "true", "[]", "{}", "[8]"].map { around("{\"\(key)\": \($0)}") }
}

private func wrongBooleans(_ key: String, _ around: (String) -> String) -> [String] {
    ["null", "\"true\"", "1", "0", "1.0", "[]", "{}"].map { around("{\"\(key)\": \($0)}") }
}

private func wrongObjects(_ key: String) -> [String] {
    ["null", "5", "\"x\"", "[]", "true", "0.5"].map { "{\"capabilities\": {\"\(key)\": \($0)}}" }
}
