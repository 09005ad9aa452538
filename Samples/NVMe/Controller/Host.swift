/// Where client memory can be reached by address.
@safe
public struct DirectRange {
    /// The first byte in this process; `nil` if the bytes can be had by copies only.
    public let address: UnsafeMutableRawPointer?
    /// Bytes that lie together from there on, or that copies can reach; 0: the client lets the device see none.
    public let count: Int

    /// A range of this many bytes.
    public init(address: UnsafeMutableRawPointer?, count: Int) {
        unsafe self.address = unsafe address
        self.count = count
    }

    /// Memory the device cannot see.
    public static var none: DirectRange { unsafe DirectRange(address: nil, count: 0) }
}

/// What a controller needs of the machine around it: client memory and interrupts.
///
/// Calls that copy may find that the client has gone, and then call ``NVMeController/reset()`` before they return.
public protocol Host: AnyObject {
    /// The first bytes of `count` at `address`, as many as lie together. What it answers is good until client memory
    /// changes, which the controller is told of by ``NVMeController/memoryChanged()``.
    func direct(_ address: UInt64, _ count: Int, writing: Bool) -> DirectRange
    /// Copies client memory to `target`, however it is reached; whether that worked.
    @unsafe func read(_ address: UInt64, into target: UnsafeMutableRawPointer, count: Int) -> Bool
    /// Copies `source` to client memory.
    @unsafe func write(_ address: UInt64, from source: UnsafeRawPointer, count: Int) -> Bool
    /// The controller wrote client memory by its direct address.
    func wrote(_ address: UInt64, _ count: Int)
    /// Interrupts the client: the vector of MSI-X, or 0 when the INTx level rises.
    func signal(vector: UInt16)
    /// Whether the client takes MSI-X interrupts; INTx otherwise.
    var hasVectors: Bool { get }
}
