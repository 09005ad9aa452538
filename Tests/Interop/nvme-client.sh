#!/bin/sh
# nvme-client against nvme-server, as processes: what each subcommand does, says, and ends with.
#
#   nvme-client.sh DIR       DIR holds the two programs
set -eu

programs=${1:?usage: nvme-client.sh DIR}
work=$(mktemp -d)
server=
socket=$work/socket

stop_server() {
    [ -n "$server" ] || return 0
    kill "$server" 2>/dev/null || :
    wait "$server" && status=0 || status=$?
    server=
    return "$status"
}

trap 'stop_server || :; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

fail() {
    echo "nvme-client.sh: $*" >&2
    for log in output errors server; do
        [ ! -s "$work/$log" ] || sed "s/^/  $log: /" "$work/$log" >&2
    done
    exit 1
}

# start_server OPTION...
start_server() {
    [ -d "$socket" ] || rm -f "$socket"
    "$programs/nvme-server" --socket "$socket" "$@" 2>"$work/server" &
    server=$!
    tries=0
    until [ -S "$socket" ] || [ -S "$socket/cntrl" ]; do
        tries=$((tries + 1))
        [ "$tries" -le 100 ] || fail 'the server does not listen'
        sleep 0.1
    done
}

# expect STATUS SUBCOMMAND [OPTION...]: runs the client on the socket.
expect() {
    expected=$1
    subcommand=$2
    shift 2
    timeout 120 "$programs/nvme-client" "$subcommand" "$socket" "$@" >"$work/output" 2>"$work/errors" </dev/null &&
        status=0 || status=$?
    [ "$status" = "$expected" ] || fail "$subcommand $* ends with status $status, not $expected"
}

# says FILE PATTERN
says() { grep -q -- "$2" "$work/$1" || fail "$1 does not say: $2"; }

mkdir "$socket"
start_server --memory 1M
expect 0 identify
[ -S "$socket/cntrl" ] || fail 'no socket in the directory'
stop_server || fail "the server ends with status $?"
rm -rf "$socket"
start_server --memory 16M --memory 4M --serial 'A"B'

echo 'identify'
expect 0 identify
says output '^model .*vfio-user NVMe controller$'
says output '^namespace 1  *32768 blocks of 512 bytes$'
says output '^namespace 2  *8192 blocks of 512 bytes$'
says output '^memory .*IOAS mode$'
expect 0 identify --mode legacy --json
says output '"serial": "A\\"B"'
says output '"mode": "legacy"'
says output '{"id": 2, "blocks": 8192, "block_size": 512, "read_only": false}'
expect 0 identify --message-doorbells
says output '^doorbells .*by messages$'

echo 'read and write'
head -c 1000001 /dev/urandom >"$work/input"
for way in '--mode legacy' '--mode ioas' '--sgl' '--interrupts' '--message-doorbells'; do
    # shellcheck disable=SC2086 # options
    expect 0 write $way --block 100 --input "$work/input"
    # shellcheck disable=SC2086 # options
    expect 0 read $way --block 100 --count 1954 --output "$work/copy"
    [ "$(wc -c <"$work/copy")" = $((1954 * 512)) ] || fail 'another length'
    cmp -n 1000001 "$work/input" "$work/copy" || fail "other data, $way"
    tail -c +1000002 "$work/copy" | tr -d '\0' | cmp - /dev/null || fail 'no zeros behind the end'
    # shellcheck disable=SC2086 # options
    expect 0 verify $way --write --seed 99
done
"$programs/nvme-client" write "$socket" --namespace 2 --block 8190 --count 1 --input - <"$work/input"
"$programs/nvme-client" read "$socket" --namespace 2 --block 8190 >"$work/copy"
[ "$(wc -c <"$work/copy")" = 1024 ] || fail 'not to the end'
cmp -n 512 "$work/input" "$work/copy" || fail 'other data by standard input and output'
expect 1 write --namespace 2 --block 8190 --input "$work/input"
says errors 'longer than the rest of the namespace'
expect 1 write --count 2000 --input "$work/input"
says errors 'shorter than --count blocks'
expect 1 write --input "$work/missing"
says errors "$work/missing: No such file"
expect 1 read --output "$work/missing/file"

echo 'verify'
expect 0 verify --seed 5
says output '^16777216 bytes written and compared, no difference$'
expect 0 verify --check --seed 5 --mode legacy --json
says output '"bytes": 16777216, "written": false, "compared": true, "same": true'
expect 2 verify --check --seed 6
says errors '^nvme-client: block 0 differs at byte 0: '
expect 0 write --block 777 --count 1 --seed 6
expect 2 verify --check --seed 5 --json
says errors '^nvme-client: block 777 differs at byte 0: '
says output '"same": false'
expect 0 verify --check --seed 5 --count 777
expect 0 verify --check --seed 5 --block 778

echo 'bench'
for pattern in read write randread randwrite mixed; do
    expect 0 bench --pattern $pattern --count 3000 --depth 5
    says output "^$pattern, 4096 bytes, depth 5$"
    says output '^latency p99.9 .* us$'
done
expect 0 bench --count 2000 --queues 3 --depth 2 --block-size 65536 --mode legacy --json
says output '"block_size": 65536, "depth": 2, "queues": 3, "commands": 200[0-9]'
expect 0 bench --duration 0.2 --warm-up 0.1 --depth 1 --cpu 0 --sgl
expect 1 bench --cpu 4096
says errors 'cannot stay on processor 4096'

echo 'refusals'
expect 64 identify --mode other
expect 64 bench --depth 0
expect 64 bench --block-size 513
expect 64 bench --count 1 --duration 1
expect 64 bench --block-size 1000000000
expect 64 write
expect 64 verify --write --check
expect 64 read --block 32768
expect 64 read --block 1 --count 32768
expect 1 verify --namespace 3
says errors 'not supported by the server: namespace 3'
"$programs/nvme-client" --help | grep -q 'Exit status: 0 done' || fail 'no help'
"$programs/nvme-client" bench --help | grep -q -- '--queues' || fail 'no help for bench'

echo 'a server that ends, and starts again'
"$programs/nvme-client" bench "$socket" --duration 60 2>"$work/errors" >"$work/output" &
client=$!
sleep 1
kill -9 "$server"
wait "$client" && fail 'bench ends well' || status=$?
[ "$status" = 1 ] || fail "bench ends with status $status"
says errors 'the server has closed the connection'
wait "$server" || :
expect 1 identify
says errors 'Connection refused'
truncate -s 8M "$work/disk"
start_server --file "$work/disk" --block-size 4096
expect 0 verify --write --seed 3
stop_server || fail "the server ends with status $?"
start_server --file "$work/disk" --block-size 4096 --read-only
expect 0 verify --check --seed 3
expect 1 write --seed 3
says errors 'namespace write protected'
expect 64 bench --block-size 512
stop_server || fail "the server ends with status $?"
