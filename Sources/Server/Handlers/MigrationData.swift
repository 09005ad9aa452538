internal import SystemPackage
internal import VFIOUserTransport
internal import VFIOUserWire

extension DeviceServer {
    /// MIG_DATA_READ: the next piece of the device's state.
    ///
    /// The reply is as long as the request and the size asked for, whatever there was to read.
    func readMigrationData(_ request: inout Reader, _ reply: inout Writer) throws(Errno) {
        let requestByteCount = request.remaining
        let wanted = try MigrationData(decoding: &request)
        guard let migratable, currentMigrationState.canBeRead else { throw .invalidArgument }
        let size = try checkTransfer(wanted)
        let head = MigrationData.byteCount
        guard requestByteCount + size <= reply.space else { throw .invalidArgument }
        var answer = try reply.appendZeros(requestByteCount + size)
        var data = answer._mutatingExtracting(head..<head + size)
        let count = try data.fill { (output) throws(Errno) in
            try migratable.saveState(into: &output, on: self)
        }
        var fields = Writer(answer._mutatingExtracting(0..<head))
        try MigrationData(size: UInt32(clamping: count)).encode(into: &fields)
    }

    /// MIG_DATA_WRITE: a piece of a device's state, for this one to become like it.
    func writeMigrationData(_ request: inout Reader) throws(Errno) {
        let piece = try MigrationData(decodingWithData: &request)
        guard let migratable, currentMigrationState == .resuming else { throw .invalidArgument }
        let data = try request.take(try checkTransfer(piece))
        try migratable.restoreState(from: data, on: self)
    }

    /// The bytes of a piece, as many as were agreed on with this client.
    private func checkTransfer(_ piece: MigrationData) throws(Errno) -> Int {
        guard let limit = connection?.maxTransfer, piece.size <= limit else { throw .invalidArgument }
        return Int(piece.size)
    }
}
