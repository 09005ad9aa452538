#!/usr/bin/env bash
# A Linux guest in QEMU uses Samples/NVMe with its own driver: checksums, TRIM, a file system, a
# reboot, a server that is killed and started again with the same file.
#
# NVME_SERVER is the program (default: builds it).  Builds the guest's tree if need be
# (scripts/guest/root).  Ends with a line `N passed, N failed`.
# shellcheck disable=SC2317  # most functions are called by `check`
set -uo pipefail

source_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
guest=$source_root/scripts/guest
session=$(mktemp -d)
server=''
passed=0 failed=0

close_session() {
    [[ -z $server ]] || kill -9 "$server" 2>/dev/null || true
    rm -rf "$session"
}
trap close_session EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

check() {
    local name=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
        printf 'ok       %s\n' "$name"
    else
        failed=$((failed + 1))
        printf 'FAILED   %s\n' "$name"
        tail -n 25 "$session/console" "$session/server.log" >&2
    fi
}

server_start() {
    [[ -z $server ]] || server_kill
    "$program" --socket "$session" --memory 32M --file "$session/disk" "$@" \
        2>"$session/server.log" &
    server=$!
    local tries
    for ((tries = 0; tries < 100; tries++)); do
        [[ ! -S $session/cntrl ]] || return 0
        sleep 0.1
    done
    return 1
}

# SIGTERM: status 0, and the socket is gone.
server_stop() {
    local status=0
    kill "$server" || return 1
    wait "$server" || status=$?
    server=''
    [[ $status -eq 0 && ! -e $session/cntrl ]]
}

server_kill() {
    kill -9 "$server" || return 1
    wait "$server" 2>/dev/null
    server=''
    rm -f "$session/cntrl"
}

guest_runs() {
    "$guest/boot" --root "$root" --script "$guest/nvme-in-guest.sh" --socket "$session/cntrl" \
        --module nvme --module crc32c_generic --module ext4 --timeout 240 "$@" \
        >"$session/console" 2>&1
}

console_shows() { grep -q "^$1" "$session/console"; }

new_disk() {
    rm -f "$session/disk"
    truncate -s 64M "$session/disk"
}

# Writes and kills the server, then compares with another one.
survives_kill() {
    new_disk && server_start "$@" && guest_runs && console_shows 'made: ok' && server_kill &&
        server_start "$@" && guest_runs && console_shows 'kept: ok' && server_stop
}

survives_reboot() {
    new_disk && server_start "$@" && guest_runs --reboot --append again=reboot &&
        console_shows 'raw: ok' && console_shows 'trim: ok' && console_shows 'kept: ok' && server_stop
}

program=${NVME_SERVER:-}
if [[ -z $program ]]; then
    (cd "$source_root" && swift build -c release --product nvme-server >"$session/build.log" 2>&1) ||
        { tail -n 30 "$session/build.log" >&2; exit 1; }
    program=$source_root/.build/release/nvme-server
fi
root=$("$guest/root") || exit 1

check 'mapped doorbells: data, TRIM, a reboot' survives_reboot
check 'mapped doorbells: what was flushed survives the server' survives_kill
check 'doorbells by messages: data, TRIM, a reboot' survives_reboot --doorbells trap
check 'doorbells by messages, polling, blocks of 4 KiB' survives_reboot --doorbells trap --poll --block-size 4096
printf '%d passed, %d failed\n' "$passed" "$failed"
((failed == 0))
