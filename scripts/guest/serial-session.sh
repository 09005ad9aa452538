# shellcheck shell=bash
# To be sourced: a guest whose serial port is Samples/pci-serial, and a conversation with it.
# The functions return a status, and put what was heard into REPLY.

session_scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
session_source=$(cd "$session_scripts/../.." && pwd)
session_server='' session_guest='' session_listener=''

# An empty work directory, the installed library (VFU_PREFIX, or installed now), the compiled
# sample and the tree to boot from.
session_open() {
    session=$(mktemp -d)
    trap session_close EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    "$session_source/scripts/need" build-essential pkg-config || return 1
    if [[ -n ${VFU_PREFIX:-} ]]; then
        session_prefix=$VFU_PREFIX
    else
        session_prefix=$session/prefix
        "$session_source/scripts/install" --prefix "$session_prefix" >"$session/install.log" 2>&1 ||
            { tail -n 30 "$session/install.log" >&2; return 1; }
    fi
    PKG_CONFIG_PATH=$session_prefix/lib/pkgconfig make -s -C "$session_source/Samples/pci-serial" \
        O="$session" || return 1
    session_root=$("$session_scripts/root") || return 1
}

# shellcheck disable=SC2317  # called by the trap
session_close() {
    local pid
    for pid in $session_guest $session_listener $session_server; do
        kill -CONT "$pid" 2>/dev/null || continue
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$session"
}

# What there is to see when something went wrong.
session_explain() {
    local file
    for file in server.log console; do
        if [[ -s $session/$file ]]; then
            printf -- '--- the end of %s\n' "$file"
            tail -n 25 "$session/$file"
        fi
    done
} >&2

# Descriptor 7 is the keyboard, $session/heard what comes out of the other side.
server_start() {
    session_socket=$session/socket
    : >"$session/heard"
    heard=0
    rm -f "$session/keyboard"
    mkfifo "$session/keyboard"
    exec 7<>"$session/keyboard"
    LD_LIBRARY_PATH=$session_prefix/lib "$session/pci-serial" --socket "$session_socket" --verbose \
        <"$session/keyboard" >"$session/heard" 2>"$session/server.log" 7>&- &
    session_server=$!
    wait_for server_listens
}

# The same with a pseudo-terminal, which a process of ours copies to $session/heard.
server_start_pty() {
    local pty
    session_socket=$session/socket
    : >"$session/heard"
    : >"$session/pty"
    heard=0
    LD_LIBRARY_PATH=$session_prefix/lib "$session/pci-serial" --socket "$session_socket" --verbose \
        --pty </dev/null >"$session/pty" 2>"$session/server.log" 7>&- &
    session_server=$!
    wait_for server_listens || return 1
    read -r pty <"$session/pty" && [[ -c $pty ]] || return 1
    exec 7<>"$pty"
    # A terminal ends with EIO.
    cat <&7 >"$session/heard" 2>/dev/null 7>&- &
    session_listener=$!
}

server_listens() { [[ -S $session_socket ]]; }

# Whether SIGTERM ends it with status 0 and its socket is gone.
server_stop() {
    local status=0
    kill "$session_server" || return 1
    wait "$session_server" || status=$?
    session_server=''
    exec 7>&-
    [[ -z $session_listener ]] || wait "$session_listener" || true
    session_listener=''
    [[ $status -eq 0 && ! -e $session_socket ]]
}

guest_start() {
    : >"$session/console"
    "$session_scripts/boot" --root "$session_root" --script "$session_scripts/serial-in-guest.sh" \
        --socket "$session_socket" --reboot --timeout 600 >"$session/console" 2>&1 7>&- &
    session_guest=$!
}

# The status of the guest's script.
guest_wait() {
    local status=0
    wait "$session_guest" || status=$?
    session_guest=''
    return "$status"
}

# Waits for a command to succeed, while the guest (if there is one) runs; at most two minutes.
wait_for() {
    local end=$((SECONDS + 120))
    while ! "$@"; do
        ((SECONDS < end)) || return 1
        [[ -z $session_guest ]] || kill -0 "$session_guest" 2>/dev/null || return 1
        sleep 0.05
    done
}

console_shows() { grep -q "$1" "$session/console"; }

# The next line that the guest sends.
read_line() { wait_for take_line; }

take_line() {
    local LC_ALL=C
    # Fails without a whole line.
    IFS= read -r REPLY < <(tail -c "+$((heard + 1))" "$session/heard") || return 1
    heard=$((heard + ${#REPLY} + 1))
}

# The checksum of the next bytes that the guest sends.
read_checksum() {
    wait_for has_heard "$1" || return 1
    REPLY=$(tail -c "+$((heard + 1))" "$session/heard" | head -c "$1" | sha256sum)
    REPLY=${REPLY%% *}
    heard=$((heard + $1))
}

has_heard() { (($(stat -c %s "$session/heard") >= heard + $1)); }

type_line() { printf '%s\n' "$*" >&7; }

ask() {
    type_line "$*"
    read_line
}

# Whether the checksums of so many bytes from the guest, or to it, agree.
transfer_from_guest() {
    local sum
    ask "send $1" || return 1
    sum=${REPLY#sum }
    read_checksum "$1" && [[ $REPLY == "$sum" ]]
}

transfer_to_guest() {
    local sum
    head -c "$1" /dev/urandom >"$session/data"
    sum=$(sha256sum <"$session/data")
    ask "receive $1" && [[ $REPLY == go ]] || return 1
    cat "$session/data" >&7
    read_line && [[ $REPLY == "sum ${sum%% *}" ]]
}
