/// What keeps the program from its work, in words that say what to do.
struct Trouble: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}

/// Where the clients of a controller come from.
enum ClientSource: Sendable, Equatable {
    case path(String)
    /// A socket that was handed over.
    case descriptor(Int32)
}

/// Where the blocks of a namespace are.
enum NamespaceSource: Sendable {
    case memory(UInt64)
    case file(String)
    case nbd(String)
}

/// One controller of those that the command line asks for.
struct ControllerPlan {
    let source: ClientSource
    var namespaces: [NamespaceSource] = []
    let serial: String

    /// The size of a namespace that nobody asked for.
    static let usualSize: UInt64 = 1 << 30
    static let longestSerial = 20

    /// A controller for each place that clients come from. It gets the namespaces that stand behind it, and the
    /// first also those before it.
    ///
    /// - Parameter inherited: sockets of socket activation, for when no others are named.
    static func plans(
        sources: [Placed<ClientSource>], namespaces: [Placed<NamespaceSource>], serials: [String],
        inherited: [InheritedSocket]
    ) throws(Trouble) -> [ControllerPlan] {
        var sources = sources.sorted { $0.place < $1.place }
        let namespaces = namespaces.sorted { $0.place < $1.place }
        if sources.isEmpty {
            sources = inherited.map { Placed(value: .descriptor($0.number), place: 0) }
            guard sources.count <= 1 || namespaces.isEmpty else {
                throw Trouble(
                    "\(sources.count) sockets were handed over (LISTEN_FDS): say which namespaces belong to which, "
                        + "as in --fd 3 --memory 1G --fd 4 --file disk.img")
            }
        }
        guard !sources.isEmpty else {
            throw Trouble("say where clients connect, as in --socket /tmp/nvme.sock (or --fd, or LISTEN_FDS)")
        }
        guard serials.count <= sources.count else {
            throw Trouble("there are more --serial than controllers: one for each --socket or --fd")
        }
        var plans: [ControllerPlan] = []
        for (index, source) in sources.enumerated() {
            guard !plans.contains(where: { $0.source == source.value }) else {
                throw Trouble("\(source.value) is named twice: a socket is one controller's")
            }
            let serial = index < serials.count ? serials[index] : "VFIOUSER\(padded(index + 1))"
            plans.append(ControllerPlan(source: source.value, serial: serial))
        }
        for namespace in namespaces {
            let owner = sources.lastIndex { $0.place < namespace.place } ?? 0
            plans[owner].namespaces.append(namespace.value)
        }
        for index in plans.indices where plans[index].namespaces.isEmpty {
            plans[index].namespaces = [.memory(usualSize)]
        }
        return plans
    }

    private static func padded(_ number: Int) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, 4 - digits.count)) + digits
    }
}

extension ClientSource: CustomStringConvertible {
    var description: String {
        switch self {
        case .path(let path): path
        case .descriptor(let number): "descriptor \(number)"
        }
    }
}
