// swift-tools-version: 6.3
import PackageDescription

let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableExperimentalFeature("Lifetimes"),
]

let systemPackage: Target.Dependency = .product(name: "SystemPackage", package: "swift-system")

/// One library module: `Sources/<name>`, imported as `VFIOUser<name>`.
func module(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .target(
        name: "VFIOUser\(name)", dependencies: dependencies + [systemPackage],
        path: "Sources/\(name)", swiftSettings: strict)
}

/// The tests of one module: `Tests/<name>Tests`.
func tests(of name: String, _ dependencies: [Target.Dependency] = [], exclude: [String] = []) -> Target {
    .testTarget(
        name: "VFIOUser\(name)Tests",
        dependencies: [.target(name: "VFIOUser\(name)"), "VFIOUserTestSupport", systemPackage] + dependencies,
        path: "Tests/\(name)Tests", exclude: exclude, swiftSettings: strict)
}

let package = Package(
    name: "vfio-user",
    products: [
        .library(name: "VFIOUserServer", targets: ["VFIOUserServer"]),
        .library(name: "VFIOUserClient", targets: ["VFIOUserClient"]),
        .library(name: "vfio-user", type: .dynamic, targets: ["VFIOUserShim"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-system", from: "1.6.0"),
        // For the samples' programs alone.
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.6.0"),
    ],
    targets: [
        .systemLibrary(name: "CVFIOUser", path: "Sources/CVFIOUser"),
        .systemLibrary(
            name: "CJSONC", path: "Sources/CJSONC", pkgConfig: "json-c",
            providers: [.apt(["libjson-c-dev"])]),
        .target(name: "CLinux", path: "Sources/CLinux"),
        .target(name: "CShim", path: "Sources/CShim", cSettings: [.headerSearchPath("../../Include")]),

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
        module("Client", ["CLinux", "VFIOUserWire", "VFIOUserSystem", "VFIOUserTransport"]),
        .target(
            name: "VFIOUserShim",
            dependencies: ["CVFIOUser", "CShim", "CLinux", "VFIOUserServer", systemPackage],
            path: "Sources/Shim", exclude: ["exports.map", "Link"], swiftSettings: strict,
            linkerSettings: [
                .unsafeFlags([
                    "-static-stdlib", "-Xlinker", "-soname=libvfio-user.so.0",
                    "-Xlinker", "--version-script=\(Context.packageDirectory)/Sources/Shim/exports.map",
                    "-L\(Context.packageDirectory)/Sources/Shim/Link", "-Xclang-linker", "-static-libgcc",
                ])
            ]),

        .systemLibrary(
            name: "CLiburing", path: "Samples/NVMe/CLiburing", pkgConfig: "liburing",
            providers: [.apt(["liburing-dev"])]),
        .systemLibrary(
            name: "CLibnbd", path: "Samples/NVMe/CLibnbd", pkgConfig: "libnbd",
            providers: [.apt(["libnbd-dev"])]),
        .target(name: "CNVMeSystem", dependencies: ["CLiburing"], path: "Samples/NVMe/System"),
        .target(
            name: "NVMeController", dependencies: ["CNVMeSystem", systemPackage],
            path: "Samples/NVMe/Controller",
            swiftSettings: strict),
        .target(
            name: "NVMeStores", dependencies: ["CLibnbd", "CNVMeSystem", "NVMeController", systemPackage],
            path: "Samples/NVMe/Stores", swiftSettings: strict),
        .target(
            name: "NVMePCI",
            dependencies: ["CNVMeSystem", "NVMeController", "VFIOUserServer", systemPackage],
            path: "Samples/NVMe/PCI", swiftSettings: strict),
        .target(
            name: "NVMeDriver", dependencies: ["VFIOUserClient", systemPackage], path: "Samples/NVMe/Driver",
            swiftSettings: strict),
        .executableTarget(
            name: "nvme-server",
            dependencies: [
                "CNVMeSystem", "NVMeController", "NVMePCI", "NVMeStores", "VFIOUserServer", systemPackage,
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ],
            path: "Samples/nvme-server", swiftSettings: strict),

        .target(
            name: "CHotPath", path: "Tests/C/hotpath", exclude: ["run.sh", "references.awk", "verdict.awk"],
            sources: ["allocations.c"], publicHeadersPath: "."),
        .executableTarget(
            name: "nvme-hotpath",
            dependencies: [
                "CHotPath", "NVMeController", "NVMeDriver", "NVMePCI", "NVMeStores", "VFIOUserClient",
                "VFIOUserServer", systemPackage,
            ],
            path: "Tests/NVMeHotPath", exclude: ["run.sh"],
            swiftSettings: [.swiftLanguageMode(.v6), .treatAllWarnings(as: .error)]),

        .executableTarget(
            name: "nvme-client",
            dependencies: [
                "CNVMeSystem", "NVMeDriver", "VFIOUserClient", systemPackage,
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            path: "Samples/nvme-client", swiftSettings: strict),

        .executableTarget(
            name: "scratch-device", dependencies: ["VFIOUserServer"], path: "Samples/scratch/swift",
            swiftSettings: [.swiftLanguageMode(.v6), .treatAllWarnings(as: .error)]),

        .target(name: "VFIOUserTestSupport", path: "Tests/Support", swiftSettings: strict),
        tests(of: "Wire"),
        tests(of: "PCI"),
        tests(of: "System", ["CLinux"]),
        tests(of: "Transport", ["CLinux", "VFIOUserWire", "VFIOUserSystem"]),
        tests(of: "AddressSpace", ["VFIOUserSystem"]),
        tests(
            of: "Server",
            [
                "CLinux", "VFIOUserClient", "VFIOUserWire", "VFIOUserSystem", "VFIOUserTransport",
                "VFIOUserAddressSpace", "VFIOUserPCI",
            ], exclude: ["Data"]),
        tests(of: "Client", ["VFIOUserWire", "VFIOUserSystem"]),
        .target(
            name: "NVMeSupport", dependencies: ["NVMeController", "NVMeStores", systemPackage],
            path: "Tests/NVMeSupport", swiftSettings: strict),
        .testTarget(
            name: "NVMeControllerTests",
            dependencies: ["NVMeController", "NVMeStores", "NVMeSupport", systemPackage],
            path: "Tests/NVMeControllerTests", swiftSettings: strict),
        .testTarget(
            name: "NVMeStoresTests", dependencies: ["NVMeController", "NVMeStores", systemPackage],
            path: "Tests/NVMeStoresTests", swiftSettings: strict),
        .testTarget(
            name: "NVMeClientTests", dependencies: ["nvme-client", "VFIOUserClient"],
            path: "Tests/NVMeClientTests", swiftSettings: strict),
        .testTarget(
            name: "NVMeDriverTests",
            dependencies: [
                "NVMeController", "NVMeDriver", "NVMePCI", "NVMeStores", "VFIOUserClient", "VFIOUserServer",
                "nvme-client", systemPackage,
            ],
            path: "Tests/NVMeDriverTests", swiftSettings: strict),
        .testTarget(
            name: "VFIOUserEndToEndTests",
            dependencies: [
                "CLinux", "VFIOUserClient", "VFIOUserServer", "VFIOUserWire", "VFIOUserSystem",
                "VFIOUserAddressSpace", "NVMeController", "NVMePCI", "NVMeStores", "NVMeSupport",
                systemPackage,
            ],
            path: "Tests/EndToEndTests", swiftSettings: strict),
    ]
)
