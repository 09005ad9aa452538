#!/bin/sh
# nvme-client drives nvme-server: 4 KiB random reads and writes of a namespace in memory, 1 and 32 outstanding, doorbells
# in shared memory. The server polls on processor 0, the client on processor 1; nothing else should be running.
#
#   run.sh [--seconds N] [--runs N] [--mode legacy|ioas] [--instructions] [--prebuilt DIR]
#
#   --seconds        of each run (5)
#   --runs           of each workload, of which the one with the median of the IOPS is shown (3)
#   --instructions   instead, count the instructions of the server and of the driver for as many commands as are
#                    outstanding (Tests/NVMeHotPath, by callgrind)
#   --prebuilt DIR   release builds of nvme-server, nvme-client and nvme-hotpath; without it they are built
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
cd "$root"
usage() { sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2; }

seconds=5
runs=3
mode=legacy
counts=
programs=
while [ $# -gt 0 ]; do
    case $1 in
    --instructions) counts=yes; shift; continue ;;
    esac
    [ $# -ge 2 ] || usage
    case $1 in
    --seconds) seconds=$2 ;;
    --runs) runs=$2 ;;
    --mode) mode=$2 ;;
    --prebuilt) programs=$2 ;;
    *) usage ;;
    esac
    shift 2
done

if [ -z "$programs" ]; then
    for program in nvme-server nvme-client nvme-hotpath; do swift build -c release --product $program >&2; done
    programs=$(swift build -c release --show-bin-path)
fi
if [ -n "$counts" ]; then
    scripts/need valgrind >&2
    exec Tests/NVMeHotPath/run.sh "$programs/nvme-hotpath"
fi
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || :; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

taskset -c 0 "$programs/nvme-server" --socket "$work/socket" --memory 1G --poll 2>"$work/log" &
server=$!
tries=0
until [ -S "$work/socket" ]; do
    tries=$((tries + 1))
    [ "$tries" -le 100 ] || { cat "$work/log" >&2; exit 1; }
    sleep 0.1
done

bench() {
    taskset -c 1 "$programs/nvme-client" bench "$work/socket" --mode "$mode" --pattern "$pattern" --depth "$depth" --json "$@"
}
member() { sed "s/.*\"$1\": \([0-9.]*\).*/\1/"; }
# The time that the server has run, nanoseconds.
server_time() { cut -d ' ' -f 1 "/proc/$server/schedstat"; }

# A namespace that was never written to is one page of zeros, which is read from the nearest cache.
"$programs/nvme-client" verify "$work/socket" --mode "$mode" --seed 1 --write >"$work/output"

printf '%-11s  %5s  %9s  %8s  %8s  %8s  %22s\n' '4 KiB' depth IOPS 'p50, us' 'p99, us' 'max, us' 'server, ns a command'
for pattern in randread randwrite; do
    for depth in 1 32; do
        # Touches the memory, and everything else that is slow the first time.
        bench --duration 1 >/dev/null
        run=0
        while [ "$run" -lt "$runs" ]; do
            run=$((run + 1))
            before=$(server_time)
            bench --duration "$seconds" >"$work/output"
            after=$(server_time)
            for name in iops latency_us_p50 latency_us_p99 latency_us_max commands; do
                printf '%s ' "$(member $name <"$work/output")"
            done
            echo "$((after - before))"
        done >"$work/runs"
        sort -n "$work/runs" | sed -n "$(((runs + 1) / 2))p" >"$work/median"
        read -r iops median late longest commands time <"$work/median"
        printf '%-11s  %5d  %9d  %8.2f  %8.2f  %8.1f  %22d\n' "$pattern" "$depth" "$iops" "$median" "$late" \
            "$longest" "$((time / commands))"
    done
done
