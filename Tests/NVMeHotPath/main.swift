// What the NVMe sample may do for each command of a polled queue: allocate nothing. run.sh has reference counting and
// checks of exclusivity counted as well, by callgrind, inside of countedPart().
//
//   nvme-hotpath SUBJECT     fails if the subject does more than it may

import CHotPath
import Glibc

/// Turns that are counted, after a few that are not: whatever happens once has happened.
let rounds = 1000

func fail(_ message: String) -> Never {
    print("FAILED: \(message)")
    exit(1)
}

func measure(_ turn: (Bool) throws -> Void) rethrows {
    for _ in 0..<10 { try turn(false) }
    for _ in 0..<rounds { try turn(true) }
}

let subject = CommandLine.arguments.dropFirst().first ?? ""
if subject == "control-nvme" {
    let control = Control()
    if CommandLine.argc > 2 { control.whileChanging = { print("changing") } }
    measure { control.turn(isCounted: $0) }
    if allocations() < UInt64(rounds) { fail("the control's allocations are not counted") }
} else {
    do {
        let bench = try Bench(subject)
        try measure { try bench.turn(isCounted: $0) }
        if allocations() > 0 { fail("\(subject) must not allocate: \(allocations()) in \(rounds) turns") }
    } catch {
        fail("\(subject): \(error)")
    }
}
print("\(subject): \(Double(allocations()) / Double(rounds)) allocations a turn")
