#!/bin/sh
# What the NVMe sample may do for each command of a polled queue: allocate nothing, count no references, check no
# exclusivity. Prints instructions as well.
#
#   run.sh PROGRAM     a release build of nvme-hotpath; needs valgrind
set -eu

program=${1:?usage: run.sh PROGRAM}
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# valgrind cannot read the compiler's debugging information. The names of functions stay.
strip --strip-debug -o "$work/nvme-hotpath" "$program"
echo '== allocations'
set -- idle-0 read-1 read-32 write-1 write-32 compare-1 sgl-1 client-read-1 client-read-32 client-write-1 \
    client-write-32 client-sgl-1 control-nvme
for subject; do
    timeout -k 5 60 "$work/nvme-hotpath" "$subject"
done
echo '== reference counting'
for subject; do
    timeout -k 5 300 valgrind --tool=callgrind --toggle-collect='*countedPart*' \
        --callgrind-out-file="$work/profile" "$work/nvme-hotpath" "$subject" >"$work/output" 2>&1 || {
        cat "$work/output"
        exit 1
    }
    awk -v profile="$subject" -f "$here/../C/hotpath/references.awk" "$work/profile"
done >"$work/references"
awk -v tests="$#" -v comparisons=0 -f "$here/../C/hotpath/verdict.awk" "$work/references"
