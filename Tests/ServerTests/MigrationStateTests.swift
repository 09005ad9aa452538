import SystemPackage
import Testing

@testable import VFIOUserServer

/// The way from every state to every other one.
@Suite struct MigrationStateTests {
    /// From, to, the states entered on the way; nil: no way.
    static let ways: [(MigrationState, MigrationState, [MigrationState]?)] = [
        (.stop, .stop, []),
        (.stop, .running, [.running]),
        (.stop, .stopCopy, [.stopCopy]),
        (.stop, .resuming, [.resuming]),
        (.stop, .preCopy, [.running, .preCopy]),
        (.running, .stop, [.stop]),
        (.running, .running, []),
        (.running, .stopCopy, [.stop, .stopCopy]),
        (.running, .resuming, [.stop, .resuming]),
        (.running, .preCopy, [.preCopy]),
        (.stopCopy, .stop, [.stop]),
        (.stopCopy, .running, [.stop, .running]),
        (.stopCopy, .stopCopy, []),
        (.stopCopy, .resuming, [.stop, .resuming]),
        (.stopCopy, .preCopy, nil),
        (.resuming, .stop, [.stop]),
        (.resuming, .running, [.stop, .running]),
        (.resuming, .stopCopy, [.stop, .stopCopy]),
        (.resuming, .resuming, []),
        (.resuming, .preCopy, [.stop, .running, .preCopy]),
        (.preCopy, .stop, [.running, .stop]),
        (.preCopy, .running, [.running]),
        (.preCopy, .stopCopy, [.stopCopy]),
        (.preCopy, .resuming, [.running, .stop, .resuming]),
        (.preCopy, .preCopy, []),
    ]

    @Test(arguments: ways)
    func way(_ from: MigrationState, _ to: MigrationState, _ expected: [MigrationState]?) throws {
        guard let expected else {
            #expect(throws: Errno.invalidArgument) { try from.step(toward: to) }
            return
        }
        var state = from
        var passed: [MigrationState] = []
        while state != to, passed.count < 8 {
            state = try state.step(toward: to)
            passed.append(state)
        }
        #expect(passed == expected)
    }

    @Test func everyPairIsThere() {
        let pairs = Set(Self.ways.map { [$0.0, $0.1] })
        #expect(pairs.count == MigrationState.allCases.count * MigrationState.allCases.count)
    }

    @Test func whatStatesAllow() {
        #expect(MigrationState.allCases.filter(\.canBeRead) == [.stopCopy, .preCopy])
        #expect(MigrationState.allCases.filter(\.isStopped) == [.stop, .stopCopy])
    }
}
