public import SystemPackage
internal import VFIOUserAddressSpace
internal import VFIOUserTransport
internal import VFIOUserWire

extension DeviceServer {
    /// The device is quiesced, as asked by ``Device/quiesce(on:)``, or (`error`) cannot be.
    ///
    /// The request that waited is carried out and answered inside this call, and so are those that have arrived
    /// behind it; the device counts as quiesced until this returns. With an error, the request fails with that
    /// error, and the removal of a client that has gone is tried again by the next ``poll()``.
    ///
    /// - Throws: `EINVAL` nothing waits for the device; other errors of sending the reply. A request that fails, or a
    ///   client that has gone meanwhile, is no error.
    public func quiesced(error: Errno? = nil) throws(Errno) {
        let work = pending
        guard !isProcessing else { throw .invalidArgument }
        switch work {
        case .none: throw .invalidArgument
        case .disconnect:
            pending = .none
            if error == nil { dropClient() }
        case .request:
            pending = .none
            guard case .message(let header, let length) = inbound.head() else { return }
            let serial = connectionSerial
            isQuiesced = error == nil
            defer { isQuiesced = false }
            var failure: Errno?
            if let error {
                refuse(header, length: length, error)
            } else {
                do throws(Errno) { try execute(header, length: length) } catch { failure = error }
            }
            guard serial == connectionSerial else { return }
            try continueBuffered()
            if let failure { throw failure }
        }
    }

    /// Carries on with what has been received; another request may have to wait in turn.
    private func continueBuffered() throws(Errno) {
        do throws(Errno) {
            _ = try carryOutBuffered()
        } catch .resourceBusy {
            return
        }
    }

    /// Asks the device to quiesce. It may use the server, even find that the client has gone.
    func askToQuiesce() throws(Errno) -> QuiesceState {
        let wasProcessing = isProcessing
        isProcessing = true
        defer { isProcessing = wasProcessing }
        return try telling { () throws(Errno) in try device.quiesce(on: self) }
    }

    /// The client has gone: quiesces the device, then removes everything of that client.
    ///
    /// - Parameter isClosed: the client's end is known to be closed, so there is nobody to hang up on unless the
    ///   removal takes time.
    /// - Throws: `EBUSY` when the device needs time, is being asked, or is being told already; or its error. The client's
    ///   state is still there then.
    func disconnect(isClosed: Bool = false) throws(Errno) {
        if isClosed { connection?.isOver = true } else { connection?.hangUp() }
        // Whoever asks or tells the device goes on when it has returned: the next receive or send finds the end.
        guard !isTellingDevice, !isRemovingClient else { throw .resourceBusy }
        if !isQuiesced {
            do throws(Errno) {
                if case .pending = try askToQuiesce() {
                    pending = .disconnect
                    throw .resourceBusy
                }
            } catch {
                connection?.hangUp()
                throw error
            }
        }
        dropClient()
    }

    /// A reply could not be sent, for the client has gone: removes its state, or begins to.
    func lostWhileReplying() {
        guard !isQuiescing else { return }
        do throws(Errno) { try disconnect() } catch { requestError = error }
    }

    /// Calls the device with news of its client's memory, of the client, or of a reset. Such calls do not nest: if the
    /// device finds its client gone in the middle of one, that news waits.
    func telling<Answer, Failure>(_ call: () throws(Failure) -> Answer) throws(Failure) -> Answer {
        let wasTelling = isTellingDevice
        isTellingDevice = true
        defer { isTellingDevice = wasTelling }
        return try call()
    }

    /// Removes everything of the client: its memory in ascending order, then resets the device, then interrupts and sockets.
    func dropClient() {
        guard !isRemovingClient else { return }
        let wasProcessing = isProcessing
        isProcessing = true
        isRemovingClient = true
        defer {
            isProcessing = wasProcessing
            isRemovingClient = false
        }
        forgetClientMemory()
        try? telling { () throws(Errno) in try device.reset(.lostConnection, on: self) }
        interrupts.closeAll()
        inbound.reset()
        outbound.reset()
        abandonedCommands = []
        connection = nil
        input = -1
        emptyPolls = 0
        pollingTrust = 0
        output = -1
        candidate = nil
        pending = .none
        connectionSerial &+= 1
    }
}
