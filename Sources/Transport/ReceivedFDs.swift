internal import Glibc
package import VFIOUserSystem

/// The file descriptors that came with one message; those nobody takes are closed.
package struct ReceivedFDs: ~Copyable {
    /// -1 where one has been taken.
    private var numbers: [CInt]

    init(_ numbers: [CInt]) { self.numbers = numbers }

    /// None.
    package init() { numbers = [] }

    /// How many came with the message, taken ones included.
    package var count: Int { numbers.count }

    /// Moves one descriptor out; `nil` if there is none at that place (any more).
    package mutating func take(at index: Int) -> OwnedFD? {
        guard numbers.indices.contains(index), numbers[index] >= 0 else { return nil }
        let number = numbers[index]
        numbers[index] = -1
        return OwnedFD(adopting: number)
    }

    /// The descriptor at a place, for a look; it stays here.
    package func peek(at index: Int) -> CInt? {
        guard numbers.indices.contains(index), numbers[index] >= 0 else { return nil }
        return numbers[index]
    }

    deinit {
        for number in numbers where number >= 0 { _ = close(number) }
    }
}
