import Benchmark
import VFIOUserAddressSpace

/// What a device's DMA goes through.
func translating() {
    for pages in [1, 256, 4096, 65_000] {
        Benchmark("AddressSpace: translate a random page of \(pages), local address") { benchmark in
            let space = try Space(pages: pages)
            let translator = space.table.translator
            var entry = SGEntry()
            var number: UInt32 = 1
            benchmark.startMeasurement()
            for _ in benchmark.scaledIterations {
                number = number &* 1_103_515_245 &+ 12345
                let iova = Space.iova(Int(number >> 8) % pages)
                // Room for the one entry.
                let count = try unsafe translator.translate(iova, page, .readWrite, into: &entry, capacity: 1)
                blackHole(count)
                blackHole(try unsafe translator.localAddress(of: entry))
            }
            benchmark.stopMeasurement()
        }
    }

    Benchmark("AddressSpace: mark a page dirty") { benchmark in
        let space = try Space(pages: 16)
        try space.table.startLogging(pageSize: page)
        let translator = space.table.translator
        var entry = SGEntry()
        // Room for the one entry.
        _ = try unsafe translator.translate(Space.iova(3), page, .readWrite, into: &entry, capacity: 1)
        benchmark.startMeasurement()
        for _ in benchmark.scaledIterations { translator.markDirty(entry) }
        benchmark.stopMeasurement()
    }
}
