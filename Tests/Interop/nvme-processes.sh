# shellcheck shell=bash disable=SC2034  # variables are those of the script
# To be sourced: checks of nvme-server as a process.  The words after the script's name select checks.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [[ -z ${NVME_PROGRAMS:-} ]]; then
    (cd "$here/../.." && swift build -c release --product nvme-server &&
        swift build -c release --product nvme-client) >&2 || exit 1
    NVME_PROGRAMS=$(cd "$here/../.." && swift build -c release --show-bin-path) || exit 1
fi
program=$NVME_PROGRAMS/nvme-server
client=$NVME_PROGRAMS/nvme-client
# On a file system that has O_DIRECT.
session=$(mktemp -d /var/tmp/nvme-server.XXXXXX)
socket=$session/socket
only="$*"
passed=0 failed=0
servers=()

end_servers() {
    local pid
    for pid in "${servers[@]}"; do
        kill -CONT "$pid" 2>/dev/null
        kill -9 "$pid" 2>/dev/null && wait "$pid" 2>/dev/null
    done
    servers=()
}

trap 'end_servers; rm -rf "$session"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

check() {
    local name=$1
    shift
    [[ -z $only || $name == *$only* ]] || return 0
    if "$@" >"$session/output" 2>&1; then
        passed=$((passed + 1))
        printf 'ok       %s\n' "$name"
    else
        failed=$((failed + 1))
        printf 'FAILED   %s\n' "$name"
        tail -n 20 "$session"/output "$session"/*.log >&2
    fi
    end_servers
    rm -rf "${session:?}"/*
}

# For at most 10 s.
wait_for() {
    local tries
    for ((tries = 0; tries < 200; tries++)); do
        if "$@"; then return 0; fi
        sleep 0.05
    done
    return 1
}

# launch NAME COMMAND...: in the background; its process identifier is $pid, what it says is in NAME.log.
launch() {
    local name=$1
    shift
    "$@" >"$session/$name.log" 2>&1 &
    pid=$!
    servers+=("$pid")
}

says() { grep -Eq -- "$2" "$session/$1.log"; }

# serve OPTION...: a server on $socket.
serve() {
    launch server "$program" --socket "$socket" "$@"
    server=$pid
    wait_for [ -S "$socket" ]
}

# ends STATUS: the server does.
ends() {
    local status=0
    wait "$server" || status=$?
    [[ $status -eq $1 ]] || { echo "status $status instead of $1"; return 1; }
}

# stops: by SIGTERM, with status 0 and without its socket.
stops() { kill "$server" && ends 0 && [[ ! -e $socket ]]; }

# refuses STATUS TEXT ARGUMENT...: the program ends so, and says so.
refuses() {
    local expected=$1 text=$2 status=0
    shift 2
    timeout 30 "$program" "$@" >"$session/refused.log" 2>&1 || status=$?
    [[ $status -eq $expected ]] || { echo "status $status: $*"; cat "$session/refused.log"; return 1; }
    says refused "$text" || { echo "not '$text': $*"; cat "$session/refused.log"; return 1; }
}
