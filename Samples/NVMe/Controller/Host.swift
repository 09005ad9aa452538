/// A part of client memory that lies together, as large as there is around an address.
@safe
public struct MemoryWindow {
    /// The address, as the client names it, of the first byte.
    public let first: UInt64
    /// Bytes; 0: the client lets the device see nothing there.
    public let count: UInt64
    /// The first byte in this process; `nil` if the bytes can be had by copies only.
    public let base: UnsafeMutableRawPointer?
    let rights: UInt8

    /// A window. What `base` points to stays there until ``NVMeController/memoryChanged()`` is called.
    @unsafe
    public init(
        first: UInt64, count: UInt64, base: UnsafeMutableRawPointer?, isReadable: Bool, isWritable: Bool
    ) {
        self.first = first
        self.count = count
        unsafe self.base = unsafe base
        rights = (isReadable ? Self.reading : 0) | (isWritable ? Self.writing : 0)
    }

    /// Memory the device cannot see.
    public static var none: MemoryWindow {
        unsafe MemoryWindow(first: 0, count: 0, base: nil, isReadable: false, isWritable: false)
    }

    static let reading: UInt8 = 1
    static let writing: UInt8 = 2
}

/// What a controller needs of the machine around it: client memory and interrupts.
///
/// Calls that copy may find that the client has gone, and then call ``NVMeController/reset()`` before they return; and
/// they may have the client read and write registers. They fail if the controller was reset by the one or the other.
/// A call that cannot copy for the moment, but may later, calls ``NVMeController/interrupt()`` and fails.
public protocol Host: AnyObject {
    /// The window that an address is in. It holds until client memory changes, which the controller is told of by
    /// ``NVMeController/memoryChanged()``.
    func window(at address: UInt64) -> MemoryWindow
    /// Copies client memory to `target`, however it is reached; whether that worked.
    @unsafe func read(_ address: UInt64, into target: UnsafeMutableRawPointer, count: Int) -> Bool
    /// Copies `source` to client memory.
    @unsafe func write(_ address: UInt64, from source: UnsafeRawPointer, count: Int) -> Bool
    /// Whether somebody wants to know what the controller writes by direct addresses. Asked again after
    /// ``NVMeController/resume()`` and ``NVMeController/memoryChanged()``.
    var tracksWrites: Bool { get }
    /// The controller wrote client memory by its direct address.
    func wrote(_ address: UInt64, _ count: Int)
    /// Interrupts the client: the vector of MSI-X, or 0 when the INTx level rises.
    func signal(vector: UInt16)
    /// The INTx level has fallen: takes back the signal, if the client has not taken it yet; whether it had not.
    @discardableResult func withdraw() -> Bool
    /// Whether the client takes MSI-X interrupts; INTx otherwise.
    var hasVectors: Bool { get }
}
