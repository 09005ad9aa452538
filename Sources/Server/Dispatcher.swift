internal import SystemPackage
internal import VFIOUserTransport
internal import VFIOUserWire

extension DeviceServer {
    /// What became of the first message.
    enum Progress {
        /// Carried out, successfully or not, and consumed.
        case done
        /// Consumed without being carried out: answered with an error, or a late answer itself.
        case refused
        /// Kept until the device is quiesced.
        case pending
    }

    /// Takes the first message, which is complete, through the checks that come before its own.
    ///
    /// - Throws: `EFAULT`, without an answer: descriptors that came with it are missing; and as ``execute(_:length:)``.
    func carryOut(_ header: MessageHeader, length: Int) throws(Errno) -> Progress {
        if let failure = inbound.descriptorFailure {
            // There is no telling what the request meant without them.
            _ = isAnswerToAbandoned(header)
            inbound.consume(length)
            throw failure
        }
        let command = Command(rawValue: header.command)
        guard header.flags.isCommand, length > MessageHeader.byteCount || command == .deviceReset else {
            if isAnswerToAbandoned(header) {
                inbound.consume(length)
                return .refused
            }
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
        requestError = error
        log(.debug, "command \(header.command) refused: \(error)")
        if !header.flags.contains(.noReply), output >= 0 {
            outbound.commitError(header, error, to: output)
        }
        return .refused
    }

    /// Carries the first message out and commits its reply.
    ///
    /// - Throws: an error of sending that is neither the request's nor a lost connection.
    func execute(_ header: MessageHeader, length: Int) throws(Errno) {
        guard output >= 0 else { return }
        let serial = connectionSerial
        isProcessing = true
        inbound.pin(length)
        defer { isProcessing = false }

        let failure: Errno?
        var count = 0
        do throws(Errno) {
            var request = Reader(payload(length: length))
            var reply = Writer(try replyPayload())
            try dispatch(header, &request, &reply)
            count = reply.written
            failure = nil
        } catch {
            failure = error
        }
        // A callback may have found the connection lost.
        guard serial == connectionSerial else { return }
        inbound.consume(length)
        if let failure {
            requestError = failure
            log(.debug, "command \(header.command) failed: \(failure)")
        }
        guard !header.flags.contains(.noReply) else { return forgetReplyParts() }
        if let failure, failure.rawValue != 0 {
            forgetReplyParts()
            outbound.commitError(header, failure, to: output)
        } else if replyTail != nil, let tail = replyTail.take() {
            try send(header.reply(payloadByteCount: count), count: count, tail, to: output)
        } else if !hasReplyDescriptors {
            outbound.commit(header.reply(payloadByteCount: count), count: count)
        } else {
            let descriptors = replyDescriptors
            replyDescriptors = []
            try send(header.reply(payloadByteCount: count), count: count, descriptors, to: output)
        }
    }

    /// Drops what a handler left to be sent with a reply that is not sent.
    private func forgetReplyParts() {
        replyTail = nil
        if hasReplyDescriptors { replyDescriptors = [] }
    }

    /// The payload of the first message, which is complete and stays in place while it is pinned.
    @_lifetime(borrow self)
    func payload(length: Int) -> RawSpan {
        let messages = inbound
        let span = messages.payload(at: 0, length: length)
        // The server keeps the stream, and the stream the bytes.
        return unsafe _overrideLifetime(span, borrowing: self)
    }

    /// Room for the payload of the reply being made.
    @_lifetime(borrow self)
    private func replyPayload() throws(Errno) -> MutableRawSpan {
        let messages = outbound
        let span = try messages.payload(capacity: Self.maxReplyPayload, to: output)
        // The server keeps the stream, and the stream the bytes.
        return unsafe _overrideLifetime(span, borrowing: self)
    }

    private static var maxReplyPayload: Int { Limits.maxMessageByteCount - MessageHeader.byteCount }

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
        case .deviceFeature: try handleFeature(&request, &reply)
        case .migDataRead: try readMigrationData(&request, &reply)
        case .migDataWrite: try writeMigrationData(&request)
        case .version, .dmaRead, .dmaWrite, nil: throw .invalidArgument
        case .some(let command): try carryOutIOAS(command, &request, &reply)
        }
    }
}

extension OutboundMessages {
    /// An error reply, which has no payload.
    func commitError(_ header: MessageHeader, _ error: Errno, to descriptor: CInt) {
        commit(header.errorReply(error), to: descriptor)
    }
}
