internal import CJSONC
internal import SystemPackage

/// A JSON text taken apart by json-c. Gives the memory back when it goes.
///
/// Safety: json-c counts references; this owner holds the only one to `root`, so everything below it lives
/// exactly as long as the owner. Views of it cannot outlive it: they do not escape.
@safe struct JSONDocument: ~Copyable {
    /// Never a null pointer: JSON's `null` is refused as a document.
    private let root: OpaquePointer

    /// Nesting that json-c follows; deeper text is refused.
    private static let depth: CInt = 32

    /// Takes a text apart that ends at the first NUL. What follows its first value is ignored.
    ///
    /// - Throws: EINVAL for text over 64 KiB or without NUL as its last byte, or that json-c cannot parse, or
    ///   that is `null`; ENOMEM.
    init(parsing text: RawSpan) throws(Errno) {
        guard text.byteCount <= Limits.maxCapabilityByteCount else { throw .invalidArgument }
        guard text.byteCount > 0 else { throw .invalidArgument }
        // The byte is inside the span, as just checked; any value is a valid UInt8.
        let last = unsafe text.unsafeLoad(fromByteOffset: text.byteCount - 1, as: UInt8.self)
        guard last == 0 else { throw .invalidArgument }

        guard let tokener = unsafe json_tokener_new_ex(Self.depth) else { throw .noMemory }
        // The tokener came from json_tokener_new_ex and is not used after this.
        defer { unsafe json_tokener_free(tokener) }
        // Length -1 is "up to the NUL", which the text has. The pointer is used during the call only.
        let parsed = unsafe text.withUnsafeBytes { bytes in
            unsafe json_tokener_parse_ex(tokener, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), -1)
        }
        // json-c gives a new reference or null; null also for text that is cut off, and for `null` itself.
        guard let parsed = unsafe parsed else { throw .invalidArgument }
        unsafe root = parsed
    }

    /// The document's value.
    var value: JSONView {
        @_lifetime(borrow self) borrowing get { unsafe JSONView(root) }
    }

    // The reference taken in init; views end before their document.
    deinit { unsafe json_object_put(root) }
}

/// A value inside a `JSONDocument`.
@safe struct JSONView: ~Escapable {
    /// Valid while the document lives; null for JSON's `null`, which json-c's functions accept.
    private let object: OpaquePointer?

    /// The caller ties the view to the owner of the object.
    @unsafe @_lifetime(immortal) init(_ object: OpaquePointer?) { unsafe self.object = object }

    var isObject: Bool { unsafe json_object_is_type(object, json_type_object) != 0 }

    /// The integer, cut to what 64 bits hold; nil for a value of another type, a float included.
    var integer: Int64? {
        guard unsafe json_object_is_type(object, json_type_int) != 0 else { return nil }
        return unsafe json_object_get_int64(object)
    }

    /// The boolean; nil for a value of another type.
    var boolean: Bool? {
        guard unsafe json_object_is_type(object, json_type_boolean) != 0 else { return nil }
        return unsafe json_object_get_boolean(object) != 0
    }

    /// A member of an object; nil if there is none, or this is no object.
    @_lifetime(copy self) func member(_ key: StaticString) -> JSONView? {
        guard isObject else { return nil }
        var member: OpaquePointer?
        // A valid object; the member found is owned by it and lives as long.
        guard unsafe json_object_object_get_ex(object, key.cString, &member) != 0 else { return nil }
        return unsafe JSONView(member)
    }

    /// A member that must be an object if it is there.
    ///
    /// - Throws: EINVAL if it is something else, `null` included.
    @_lifetime(copy self) func object(_ key: StaticString) throws(Errno) -> JSONView? {
        guard let member = member(key) else { return nil }
        guard member.isObject else { throw .invalidArgument }
        return member
    }

    /// A member that must be an integer if it is there.
    ///
    /// - Throws: EINVAL if it is something else, `null` included.
    func integer(_ key: StaticString) throws(Errno) -> Int64? {
        guard let member = member(key) else { return nil }
        guard let integer = member.integer else { throw .invalidArgument }
        return integer
    }

    /// A member that must be an integer in this range if it is there.
    ///
    /// - Throws: EINVAL if it is something else or outside the range.
    func integer(_ key: StaticString, in range: ClosedRange<Int64>) throws(Errno) -> Int64? {
        guard let integer = try integer(key) else { return nil }
        guard range.contains(integer) else { throw .invalidArgument }
        return integer
    }

    /// A member that must be a boolean if it is there.
    ///
    /// - Throws: EINVAL if it is something else, `null` included.
    func boolean(_ key: StaticString) throws(Errno) -> Bool? {
        guard let member = member(key) else { return nil }
        guard let boolean = member.boolean else { throw .invalidArgument }
        return boolean
    }

    /// A member, if it is there and an integer.
    func anyInteger(_ key: StaticString) -> Int64? {
        guard let member = member(key) else { return nil }
        return member.integer
    }

    /// A member, if it is there and a boolean.
    func anyBoolean(_ key: StaticString) -> Bool? {
        guard let member = member(key) else { return nil }
        return member.boolean
    }
}

extension StaticString {
    /// The text as json-c takes its keys. A literal lies in the program for ever, and a NUL follows it.
    @unsafe var cString: UnsafePointer<CChar> {
        unsafe UnsafeRawPointer(utf8Start).assumingMemoryBound(to: CChar.self)
    }
}
