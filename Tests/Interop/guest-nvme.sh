#!/usr/bin/env bash
# Linux guests in QEMU use Samples/nvme-server with their own driver and with nvme-cli: data, file
# systems, TRIM, resets, reboots, servers that are killed, and disks that guests boot from.
#
# NVME_SERVER is the program (default: builds it).  Builds the guests' tree if need be
# (scripts/guest/root).  Words after the name select checks by their names.  Ends with a line
# `N passed, N failed`.
# shellcheck disable=SC2317  # most functions are called by `check`
set -uo pipefail

# shellcheck source=scripts/guest/nvme-session.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/guest/nvme-session.sh"

only="$*"
passed=0 failed=0
check() {
    local name=$1 started=$SECONDS
    shift
    [[ -z $only || $name == *$only* ]] || return 0
    if "$@"; then
        passed=$((passed + 1))
        printf 'ok       %s (%d s)\n' "$name" $((SECONDS - started))
    else
        failed=$((failed + 1))
        printf 'FAILED   %s\n' "$name"
        session_explain
    fi
    session_end
}

# A server with two namespaces: 32 MiB in memory, 64 MiB in a file.
serve() { server_start disk --memory 32M --file "$session/file" "$@"; }
new_file() { session_new_file 64; }
two='namespaces=2'

# Every step, and each again after a reboot.
everything() {
    new_file && serve &&
        guest_runs disk "raw,trim,make,identify,commands,format,smart,reset,interrupts,reboot,kept,raw $two" \
            --reboot &&
        console_shows '^kept: ok' && server_stop disk
}

# Works with these options of the server and of the guest.
works() {
    local steps=$1 options=$2
    shift 2
    # shellcheck disable=SC2086  # words
    new_file && serve $options && guest_runs disk "$steps" "$@" && server_stop disk
}

# kill -9 while a guest has the file system mounted: another server has all that was flushed.
survives_kill() {
    new_file && serve "$@" && guest_start disk "make,hold $two" &&
        wait_for console_shows '^hold: ok' && server_kill disk || return 1
    guest_kill
    serve "$@" && guest_runs disk "kept $two" && server_stop disk
}

# What is discarded takes no room in the file.
trims_the_file() {
    local before
    new_file && serve && guest_runs disk "make $two mib=32" || return 1
    before=$(file_usage)
    guest_runs disk "fstrim,kept $two" && server_stop disk || return 1
    # Half of 32 MiB was removed.
    ((before >= 32 * 1024 && $(file_usage) <= before - 15 * 1024))
}

two_controllers() {
    new_file && serve && server_start other --memory 40M --serial OTHER &&
        guest_runs disk "raw,make,kept namespaces=3" --socket "$session/other" &&
        console_shows 'dev/nvme1n1: 40 MiB\|dev/nvme0n1: 40 MiB' && server_stop disk && server_stop other
}

# The guest's root, and all that the BIOS reads, is on the device.
boots_from_disk() {
    "$session_scripts/disk" --root "$session_root" --script "$session_scripts/nvme-in-guest.sh" \
        --device /dev/nvme0n1 --output "$session/boot.img" --program nvme --append steps=root,identify &&
        server_start disk --file "$session/boot.img" && guest_boot disk "$@" && guest_wait &&
        console_shows '^root: ok' && console_shows '^identify: ok' && server_stop disk
}

# A guest that does not find what it looks for says so: these checks can fail.
misses_files() {
    new_file && serve && ! guest_runs disk "kept $two" && console_shows '^kept: FAILED' && server_stop disk
}

session_open || { echo 'FAILED   the program or the guest is not to be had'; exit 1; }

check 'an empty disk is not taken for one with files' misses_files
check 'all of it, and a reboot' everything
check 'a server that polls, blocks of 4 KiB' works "raw,trim,commands,make,kept $two" '--poll --block-size 4096'
check 'doorbells by messages' works "raw,trim,make,reset $two" '--doorbells trap'
check 'doorbells by messages, polling, blocks of 4 KiB' works "raw,make $two" '--doorbells trap --poll --block-size 4096'
check 'INTx' works "raw,interrupts,make,reset,raw,interrupts $two pci=nomsi" ''
check 'INTx, doorbells by messages' works "raw,interrupts,make,reset,raw,interrupts $two pci=nomsi" '--doorbells trap'
check 'memory that only messages reach' works "trim,make,interrupts,reset $two mib=4" '' --plain-memory
check 'such memory, and doorbells by messages' works "raw,make,interrupts,reset $two mib=4" '--doorbells trap' --plain-memory
check 'resets with commands under way' works "crash,raw $two" '' --reboot
check 'and with memory that only messages reach' works "crash,raw $two" '' --reboot --plain-memory
check 'and doorbells by messages' works "crash,raw $two" '--doorbells trap' --reboot --plain-memory
check 'doorbells by eventfd, which QEMU does not use' works "raw,make $two" '--doorbells ioeventfd'
check 'what was flushed survives the server' survives_kill
check 'and with doorbells by messages' survives_kill --doorbells trap
check 'TRIM frees room in the file' trims_the_file
check 'two controllers, three namespaces' two_controllers
check 'a guest has its root on the disk' boots_from_disk --disk /dev/nvme0n1p1 --append steps=root,identify
check 'the BIOS boots from the disk' boots_from_disk --firmware
printf '%d passed, %d failed\n' "$passed" "$failed"
((failed == 0 && passed > 0))
