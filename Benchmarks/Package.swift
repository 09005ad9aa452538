// swift-tools-version: 6.3
import PackageDescription

// A package of its own, so that nobody who uses the library resolves what only benchmarks need. What it measures are
// parts that a user does not see (`package` declarations), so it compiles the library's modules as its own: Sources and
// Samples are links to those of the library.
let experimental: [SwiftSetting] = [
    .swiftLanguageMode(.v6), .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"), .enableUpcomingFeature("InternalImportsByDefault"),
    .enableExperimentalFeature("Lifetimes"),
]

let systemPackage: Target.Dependency = .product(name: "SystemPackage", package: "swift-system")

func module(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .target(
        name: "VFIOUser\(name)", dependencies: dependencies + [systemPackage], path: "Sources/\(name)",
        swiftSettings: experimental)
}

let package = Package(
    name: "Benchmarks",
    dependencies: [
        // Its counts of allocations and references need interposed libraries; Tests/C/hotpath counts these.
        .package(url: "https://github.com/ordo-one/benchmark", from: "1.38.1", traits: []),
        .package(url: "https://github.com/apple/swift-system", from: "1.6.0"),
    ],
    targets: [
        .systemLibrary(name: "CJSONC", path: "Sources/CJSONC", pkgConfig: "json-c"),
        .target(name: "CLinux", path: "Sources/CLinux"),
        module("Wire", ["CJSONC"]),
        module("PCI", []),
        module("System", ["CLinux"]),
        module("AddressSpace", ["VFIOUserSystem"]),
        module("Transport", ["CLinux", "VFIOUserWire", "VFIOUserSystem"]),
        module(
            "Server",
            [
                "CLinux", "VFIOUserWire", "VFIOUserPCI", "VFIOUserSystem", "VFIOUserTransport",
                "VFIOUserAddressSpace",
            ]),
        .systemLibrary(name: "CLiburing", path: "Samples/NVMe/CLiburing", pkgConfig: "liburing"),
        .target(name: "CNVMeSystem", dependencies: ["CLiburing"], path: "Samples/NVMe/System"),
        .target(
            name: "NVMeController", dependencies: ["CNVMeSystem", systemPackage],
            path: "Samples/NVMe/Controller", swiftSettings: experimental),
        .systemLibrary(name: "CLibnbd", path: "Samples/NVMe/CLibnbd", pkgConfig: "libnbd"),
        .target(
            name: "NVMeStores", dependencies: ["CLibnbd", "CNVMeSystem", "NVMeController", systemPackage],
            path: "Samples/NVMe/Stores", swiftSettings: experimental),

        .executableTarget(
            name: "Device", dependencies: ["VFIOUserServer", systemPackage], path: "Turns/Device",
            swiftSettings: experimental),
        .executableTarget(
            name: "Library",
            dependencies: [
                "CLinux", "NVMeController", "NVMeStores", "VFIOUserAddressSpace", "VFIOUserServer",
                "VFIOUserSystem",
                "VFIOUserWire", systemPackage, .product(name: "Benchmark", package: "benchmark"),
            ],
            path: "Library", swiftSettings: experimental,
            plugins: [.plugin(name: "BenchmarkPlugin", package: "benchmark")]),
    ]
)
