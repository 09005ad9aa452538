import SystemPackage

@testable import VFIOUserWire

/// The bytes of a payload.
func encoded<T: WirePayload>(_ value: T) throws(Errno) -> [UInt8] {
    try written { writer throws(Errno) in try value.encode(into: &writer) }
}

/// What a closure writes into a buffer of the given size, which holds garbage before.
func written(
    space: Int = 8192, _ body: (inout Writer) throws(Errno) -> Void
) throws(Errno) -> [UInt8] {
    var buffer = [UInt8](repeating: 0xa5, count: space)
    var span = buffer.mutableSpan
    var writer = Writer(&span)
    try body(&writer)
    let count = writer.written
    return Array(buffer[..<count])
}
