internal import ArgumentParser
internal import Synchronization

/// A value of the command line and its place among those of other options: the parser calls for values in the order
/// in which they stand, but keeps the order of one option's only.
struct Placed<Value: Sendable>: Sendable {
    let value: Value
    let place: Int
}

private let places = Atomic<Int>(0)

extension Placed: ExpressibleByArgument where Value: ExpressibleByArgument {
    init?(argument: String) {
        guard let value = Value(argument: argument) else { return nil }
        self.value = value
        place = places.wrappingAdd(1, ordering: .relaxed).newValue
    }
}

extension Placed {
    func map<Other: Sendable>(_ transform: (Value) -> Other) -> Placed<Other> {
        Placed<Other>(value: transform(value), place: place)
    }
}

/// A number of bytes: digits, and K, M, G or T for powers of 1024.
struct Size: ExpressibleByArgument, Sendable {
    let bytes: UInt64

    init(bytes: UInt64) { self.bytes = bytes }

    init?(argument: String) {
        let units: [Character: UInt64] = ["K": 10, "M": 20, "G": 30, "T": 40]
        var text = Substring(argument)
        var shift: UInt64 = 0
        if let last = text.last, let unit = units[Character(last.uppercased())] {
            shift = unit
            text.removeLast()
        }
        guard let number = UInt64(text), number > 0, number <= UInt64(Int.max) >> shift else { return nil }
        bytes = number << shift
    }
}
