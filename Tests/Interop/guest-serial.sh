#!/usr/bin/env bash
# A Linux guest in QEMU drives Samples/pci-serial with its own driver: does every byte arrive, by
# interrupts, through driver rebinds, reboots and clients?
#
# VFU_PREFIX is the prefix of the installed library (default: installs it first).  Builds the
# guest's tree if need be (scripts/guest/root).  Ends with a line `N passed, N failed`.
# shellcheck disable=SC2317  # most functions are called by `check`
set -uo pipefail

# shellcheck source=scripts/guest/serial-session.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/guest/serial-session.sh"

passed=0 failed=0
check() {
    local name=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
        printf 'ok       %s\n' "$name"
    else
        failed=$((failed + 1))
        printf 'FAILED   %s (heard: %s)\n' "$name" "${REPLY:-nothing}"
    fi
}

summary() {
    printf '%d passed, %d failed\n' "$passed" "$failed"
    ((failed == 0)) || session_explain
    ((failed == 0 && passed > 0))
    exit
}

# Nothing after this can work if this does not.
must() {
    check "$@"
    ((failed == 0)) || summary
}

guest_is_ready() {
    read_line && [[ $REPLY =~ ^ready\ ttyS[1-9]\ [1-9][0-9]*$ ]]
}

# Linux polls a port that has interrupt 0, ten times a second at most.
interrupts_rise() {
    local before after
    ask interrupts && [[ $REPLY =~ ^interrupts\ ([0-9]+)$ ]] || return 1
    before=${BASH_REMATCH[1]}
    ask say a && ask interrupts && [[ $REPLY =~ ^interrupts\ ([0-9]+)$ ]] || return 1
    after=${BASH_REMATCH[1]}
    # Two lines out and two in, each by at least one interrupt.
    ((after >= before + 4))
}

converses() { ask say "$1" && [[ $REPLY == "heard: $1" ]]; }

input_waits_for_an_open_port() {
    ask close && [[ $REPLY == closing ]] || return 1
    wait_for console_shows '^guest: the port is closed' || return 1
    type_line say typed while the port was closed
    read_line && [[ $REPLY == open ]] || return 1
    read_line && [[ $REPLY == 'heard: typed while the port was closed' ]]
}

driver_rebinds() {
    ask rebind && [[ $REPLY == rebinding ]] || return 1
    read_line && [[ $REPLY =~ ^bound\ ttyS[1-9]\ [1-9][0-9]*$ ]]
}

guest_reboots() {
    ask reboot && [[ $REPLY == rebooting ]] && guest_is_ready
}

guest_ends() { ask end && [[ $REPLY == ending ]] && guest_wait; }

# The guest's handler makes several accesses, and QEMU takes the first for the end of the interrupt.
unmasking_was_reported() {
    grep -Eq 'interrupts: [1-9][0-9]* raised, [1-9][0-9]* pending when unmasked' "$session/server.log"
}

# Twice what a terminal buffers (20 KiB): the guest is held up, and loses nothing.
output_waits_for_a_reader() {
    local sum held=yes
    ask send 40000 || return 1
    sum=${REPLY#sum }
    kill -STOP "$session_listener"
    sleep 10
    ! console_shows '^guest: sent' || held=no
    kill -CONT "$session_listener"
    read_checksum 40000 && [[ $REPLY == "$sum" && $held == yes ]] &&
        wait_for console_shows '^guest: sent'
}

must 'the sample builds and a guest is at hand' session_open

must 'the server listens' server_start
guest_start
must 'Linux makes a ttyS with an interrupt of the device' guest_is_ready
must 'a line each way' converses 'hello, guest'
check 'it takes interrupts' interrupts_rise
check '32 KiB from the guest' transfer_from_guest 32768
check '32 KiB to the guest' transfer_to_guest 32768
check 'what is typed while the port is closed waits' input_waits_for_an_open_port
check 'the driver is unbound and bound again' driver_rebinds
check 'a line each way after that' converses 'hello again'
check 'it takes interrupts after that' interrupts_rise
check 'the guest reboots' guest_reboots
check 'a line each way after that' converses 'hello once more'
check '4 KiB from the guest after that' transfer_from_guest 4096
must 'the guest ends well' guest_ends

guest_start
must 'the server serves a second client' guest_is_ready
check 'a line each way with it' converses 'hello, second guest'
must 'the second guest ends well' guest_ends
check 'SIGTERM ends the server' server_stop
check 'it was told when the guest had serviced an interrupt' unmasking_was_reported

must 'a server with a pseudo-terminal listens' server_start_pty
guest_start
must 'Linux makes a ttyS of that one' guest_is_ready
must 'a line each way through the terminal' converses 'hello, terminal'
check '4 KiB to the guest' transfer_to_guest 4096
check 'output waits for the terminal to be read' output_waits_for_a_reader
must 'the guest ends well' guest_ends
check 'SIGTERM ends that server' server_stop
summary
