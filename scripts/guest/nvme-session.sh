# shellcheck shell=bash
# To be sourced: processes of nvme-server and guests that use them.  The functions return a status.

session_scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
session_source=$(cd "$session_scripts/../.." && pwd)
session_guest=''
# Process identifiers by the name of the server.
declare -A session_servers=()

# An empty work directory, the program (NVME_SERVER, or built now), the tree to boot from.
session_open() {
    session=$(mktemp -d)
    trap session_close EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    session_program=${NVME_SERVER:-}
    if [[ -z $session_program ]]; then
        "$session_scripts/../need" libnbd-dev liburing-dev || return 1
        (cd "$session_source" && swift build -c release --product nvme-server) \
            >"$session/build.log" 2>&1 || { tail -n 30 "$session/build.log" >&2; return 1; }
        session_program=$(cd "$session_source" && swift build -c release --show-bin-path)/nvme-server ||
            return 1
    fi
    session_root=$("$session_scripts/root") || return 1
    : >"$session/console"
}

# Ends what runs.
session_end() {
    local pid
    for pid in $session_guest "${session_servers[@]}"; do
        kill "$pid" 2>/dev/null || continue
        wait "$pid" 2>/dev/null || true
    done
    session_guest=''
    session_servers=()
    rm -f "$session"/*.log "$session/console"
}

# shellcheck disable=SC2317  # called by the trap
session_close() {
    session_end
    rm -rf "$session"
}

# What there is to see when something went wrong.
session_explain() {
    local file
    for file in "$session"/*.log "$session/console"; do
        if [[ -s $file ]]; then
            printf -- '--- the end of %s\n' "${file##*/}"
            tail -n 25 "$file"
        fi
    done
} >&2

# server_start NAME OPTION...: listens on $session/NAME.
server_start() {
    local name=$1
    shift
    [[ -z ${session_servers[$name]:-} ]] || server_kill "$name"
    "$session_program" --socket "$session/$name" --log-level info "$@" 2>"$session/$name.log" &
    session_servers[$name]=$!
    wait_for server_listens "$name"
}

server_listens() {
    [[ -S $session/$1 ]] && return
    kill -0 "${session_servers[$1]}" 2>/dev/null || return 2
    return 1
}

# Whether SIGTERM ends it with status 0 and its socket is gone.
server_stop() {
    local status=0
    kill "${session_servers[$1]}" || return 1
    wait "${session_servers[$1]}" || status=$?
    unset "session_servers[$1]"
    [[ $status -eq 0 && ! -e $session/$1 ]]
}

# As if it crashed.
server_kill() {
    kill -9 "${session_servers[$1]}" || return 1
    wait "${session_servers[$1]}" 2>/dev/null || true
    unset "session_servers[$1]"
    rm -f "$session/$1"
}

# guest_start NAME STEPS OPTION...: a guest with the device of this server that takes these steps of
# nvme-in-guest.sh.  Parameters of the kernel after the steps, in the same word.
guest_start() {
    local name=$1 steps=$2
    shift 2
    guest_boot "$name" --script "$session_scripts/nvme-in-guest.sh" --append "steps=$steps" \
        --module nvme --module crc32c_generic --module ext4 --program nvme --program mkfs.ext4 "$@"
}

guest_boot() {
    local name=$1
    shift
    : >"$session/console"
    "$session_scripts/boot" --root "$session_root" --socket "$session/$name" --timeout 120 "$@" \
        >"$session/console" 2>&1 &
    session_guest=$!
}

# The status of the guest's script.
guest_wait() {
    local status=0
    wait "$session_guest" || status=$?
    session_guest=''
    return "$status"
}

guest_runs() { guest_start "$@" && guest_wait; }

# Ends a guest that would not end by itself.
guest_kill() {
    kill "$session_guest" 2>/dev/null || true
    wait "$session_guest" 2>/dev/null || true
    session_guest=''
}

# Waits for a command to succeed, while the guest (if there is one) runs; at most two minutes.
wait_for() {
    local end=$((SECONDS + 120)) status
    while true; do
        status=0
        "$@" || status=$?
        case $status in
            0) return 0 ;;
            2) return 1 ;;
        esac
        ((SECONDS < end)) || return 1
        [[ -z $session_guest ]] || kill -0 "$session_guest" 2>/dev/null || return 1
        sleep 0.05
    done
}

console_shows() { grep -q "$1" "$session/console"; }

# An empty file, which servers are given, of so many MiB.
session_new_file() {
    rm -f "$session/file"
    truncate -s "${1}M" "$session/file"
}

# KiB of the file that there are on the host's disk.
file_usage() { du -k "$session/file" | cut -f 1; }
