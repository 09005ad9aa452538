internal import CJSONC
internal import SystemPackage

/// A JSON object under construction, by json-c. Gives the memory back when it goes.
///
/// Safety: the pointer is the only reference to an object json-c made. Adding a member hands the member's
/// reference to the object, unless that fails; then it is given back here.
@safe struct JSONBuilder: ~Copyable {
    private let object: OpaquePointer

    /// - Throws: ENOMEM.
    init() throws(Errno) {
        guard let object = unsafe json_object_new_object() else { throw .noMemory }
        unsafe self.object = object
    }

    /// - Throws: ENOMEM.
    mutating func add(_ key: StaticString, _ value: Int64) throws(Errno) {
        try unsafe add(key, json_object_new_int64(value))
    }

    /// - Throws: ENOMEM.
    mutating func add(_ key: StaticString, _ value: Bool) throws(Errno) {
        try unsafe add(key, json_object_new_boolean(value ? 1 : 0))
    }

    /// - Throws: ENOMEM.
    mutating func add(_ key: StaticString, _ value: consuming JSONBuilder) throws(Errno) {
        // The child gives its reference up at the end of this function, so the object gets one of its own.
        try unsafe add(key, json_object_get(value.object))
    }

    /// Takes over a reference.
    @unsafe private mutating func add(_ key: StaticString, _ member: OpaquePointer?) throws(Errno) {
        guard let member = unsafe member else { throw .noMemory }
        // Both objects are valid; the key is copied.
        guard unsafe json_object_object_add(object, key.cString, member) == 0 else {
            unsafe json_object_put(member)
            throw .noMemory
        }
    }

    /// The text, with a space after each punctuation mark, and the NUL that ends it.
    ///
    /// - Throws: ENOMEM.
    borrowing func text() throws(Errno) -> [UInt8] {
        var count = 0
        guard
            let text = unsafe json_object_to_json_string_length(object, CInt(JSON_C_TO_STRING_SPACED), &count)
        else { throw .noMemory }
        // The text belongs to the object and is count bytes and a NUL long; it is copied before the object
        // can change.
        return unsafe Array(UnsafeRawBufferPointer(start: text, count: count + 1))
    }

    // The reference from json_object_new_object.
    deinit { unsafe json_object_put(object) }
}
