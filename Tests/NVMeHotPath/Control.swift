import CHotPath

/// All that is counted happens in here: callgrind is told its name (--toggle-collect).
@inline(never)
func countedPart(_ body: () -> Void) {
    allocations_counted(true)
    body()
    allocations_counted(false)
}

/// What must be counted: an object is made, referred to, and used with a check of exclusivity.
final class Control {
    private final class Object {
        var value = 0
        var next: Object?
    }
    private var last: Object?
    /// Unknown to the compiler, which has to expect that it uses what is being changed.
    var whileChanging: () -> Void = {}

    func turn(isCounted: Bool) { if isCounted { countedPart { [self] in add() } } }

    @inline(never)
    private func add() {
        let object = Object()
        object.next = last
        object.value = (last?.value ?? 0) + 1
        object.next?.next = nil
        change(&object.value)
        last = object
    }

    @inline(never)
    private func change(_ value: inout Int) {
        whileChanging()
        value += 1
    }
}
