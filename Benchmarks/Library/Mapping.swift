import Benchmark
import VFIOUserAddressSpace

/// Mappings that come and go among few and many, kernel included.
func mapping() {
    for pages in [1, 65_000] {
        Benchmark("IOAS: map and unmap a page among \(pages)") { benchmark in
            let space = try Space(pages: pages)
            benchmark.startMeasurement()
            for _ in benchmark.scaledIterations {
                try space.map(pages)
                try space.unmap(pages)
            }
            benchmark.stopMeasurement()
        }

        Benchmark("IOAS: copy a page among \(pages) to another space, and unmap it") { benchmark in
            let space = try Space(pages: pages)
            let other = try space.table.allocate()
            benchmark.startMeasurement()
            for _ in benchmark.scaledIterations {
                let copy = try space.table.copy(
                    from: space.id, Space.iova(pages / 2), page, to: other, .fixed(page), .readWrite)
                space.table.remove(copy)
            }
            benchmark.stopMeasurement()
        }
    }

    Benchmark("IOAS: map 1024 pages and end the connection", configuration: .init(scalingFactor: .one)) {
        benchmark in
        for _ in benchmark.scaledIterations {
            let space = try Space(pages: 1024)
            space.table.endConnection()
        }
    }
}
