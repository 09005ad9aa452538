internal import SystemPackage
internal import VFIOUserTransport
internal import VFIOUserWire

extension DeviceServer {
    /// What became of the first message.
    enum Progress {
        /// Carried out, successfully or not, and consumed.
        case done
        /// Answered with an error before being carried out, and consumed.
        case refused
        /// Kept until the device is quiesced.
        case pending
    }

    /// Takes the first message, which is complete, through the checks that come before its own.
    func carryOut(_ header: MessageHeader, length: Int) throws(Errno) -> Progress {
        let command = Command(rawValue: header.command)
        guard header.flags.isCommand, length > MessageHeader.byteCount || command == .deviceReset else {
            return refuse(header, length: length, .invalidArgument)
        }
        let rule = command.map(CommandRule.init) ?? .unknown
        guard isAllowedInMigrationState(rule) else {
            return refuse(header, length: length, .invalidArgument)
        }
        if !isQuiesced, needsQuiesce(rule, length: length) {
            let state: QuiesceState
            let serial = connectionSerial
            do throws(Errno) {
                inbound.pin(length)
                state = try askToQuiesce()
            } catch {
                return refuse(header, length: length, error)
            }
            guard serial == connectionSerial else { return .done }
            if case .pending = state {
                pending = .request
                return .pending
            }
        }
        try execute(header, length: length)
        return .done
    }

    /// Answers the first message with an error and drops it.
    @discardableResult
    func refuse(_ header: MessageHeader, length: Int, _ error: Errno) -> Progress {
        inbound.consume(length)
        lastRequestError = error
        log(.debug, "command \(header.command) refused: \(error)")
        if !header.flags.contains(.noReply), let output = connection?.output {
            outbound.commitError(header, error, to: output)
        }
        return .refused
    }

    /// Carries the first message out and commits its reply.
    ///
    /// - Throws: an error of sending that is neither the request's nor a lost connection.
    func execute(_ header: MessageHeader, length: Int) throws(Errno) {
        guard let output = connection?.output else { return }
        let serial = connectionSerial
        isProcessing = true
        inbound.pin(length)
        defer { isProcessing = false }

        let failure: Errno?
        var count = 0
        do throws(Errno) {
            let (requests, replies) = (inbound, outbound)
            var request = Reader(requests.payload(length: length))
            var reply = Writer(try replies.payload(capacity: Self.maxReplyPayload, to: output))
            try dispatch(header, &request, &reply)
            count = reply.written
            failure = nil
        } catch {
            failure = error
        }
        // A callback may have found the connection lost.
        guard serial == connectionSerial else { return }
        let descriptors = takeReplyDescriptors()
        inbound.consume(length)
        if let failure { lastRequestError = failure }
        guard !header.flags.contains(.noReply) else { return }
        if let failure, failure.rawValue != 0 {
            outbound.commitError(header, failure, to: output)
        } else if descriptors.isEmpty {
            outbound.commit(header.reply(payloadByteCount: count), count: count)
        } else {
            try send(header.reply(payloadByteCount: count), count: count, descriptors, to: output)
        }
    }

    private static var maxReplyPayload: Int { Limits.maxMessageByteCount - MessageHeader.byteCount }

    private func takeReplyDescriptors() -> [CInt] {
        guard !replyDescriptors.isEmpty else { return [] }
        defer { replyDescriptors = [] }
        return replyDescriptors
    }

    /// Sends a reply with descriptors by itself, since they go with a message's first byte.
    private func send(_ header: MessageHeader, count: Int, _ descriptors: [CInt], to output: CInt)
        throws(Errno)
    {
        do throws(Errno) {
            try outbound.flush(to: output)
            outbound.commit(header, count: count)
            try outbound.flush(to: output, descriptors: descriptors)
        } catch {
            guard Self.meansDisconnected(error) else { throw error }
            lostWhileReplying()
        }
    }

    private func dispatch(
        _ header: MessageHeader, _ request: inout Reader, _ reply: inout Writer
    ) throws(Errno) {
        switch Command(rawValue: header.command) {
        case .regionRead: try readRegion(&request, &reply)
        case .regionWrite: try writeRegion(&request, &reply)
        case .regionWriteMulti: try writeRegions(&request, &reply)
        case .dmaMap: try mapDMA(&request)
        case .dmaUnmap: try unmapDMA(&request, &reply)
        case .deviceGetInfo: try describeDevice(&request, &reply)
        case .deviceGetRegionInfo: try describeRegion(&request, &reply)
        case .deviceGetRegionIOFDs: try describeNotifiers(&request, &reply)
        case .deviceGetIRQInfo: try describeInterrupts(&request, &reply)
        case .deviceSetIRQs: try setInterrupts(&request)
        case .deviceReset: try resetDevice()
        case .deviceFeature, .migDataRead, .migDataWrite: throw .invalidArgument
        case .version, .dmaRead, .dmaWrite, nil: throw .invalidArgument
        case .ioasAlloc, .ioasDestroy, .ioasMap, .ioasUnmap, .ioasCopy, .bind, .attachPT, .detachPT,
            .iovaRanges,
            .compatIOAS:
            throw .invalidArgument
        }
    }
}

extension OutboundMessages {
    /// An error reply, which has no payload.
    func commitError(_ header: MessageHeader, _ error: Errno, to descriptor: CInt) {
        commit(header.errorReply(error), to: descriptor)
    }
}
