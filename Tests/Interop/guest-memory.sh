#!/usr/bin/env bash
# Runs the C tests of dma-bufs and of huge pages in a Linux guest: its kernel makes dma-bufs of
# memfds, which few hosts do, and has huge pages to spare.
#
# VFU_PREFIX is the prefix of the installed library (default: installs it first).  Builds the
# guest's tree if need be (scripts/guest/root).  Ends with a line `N passed, N failed`.
set -euo pipefail

source_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
subjects=(dma_buf huge_pages)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [[ -z ${VFU_PREFIX:-} ]]; then
    VFU_PREFIX=$work/prefix
    "$source_root/scripts/install" --prefix "$VFU_PREFIX" >"$work/log" 2>&1 ||
        { tail -n 30 "$work/log" >&2; exit 1; }
fi
# Skips here, or even runs.
BUILD_DIR=$work/build "$source_root/Tests/C/run.sh" \
    "$VFU_PREFIX/include" "$VFU_PREFIX/lib" "${subjects[@]}" >"$work/log" 2>&1 ||
    { cat "$work/log" >&2; exit 1; }
programs=("${subjects[@]/#/$work/build/}")

# The programs and the host's libraries that they need, each in the guest where it is here.
contents=()
while read -r file; do
    contents+=(--add "$file:$file")
done < <(printf '%s\n' "${programs[@]}"; ldd "${programs[@]}" | grep -o '/[^ ]*[^ :]' | sort -u)
cat >"$work/script" <<TEXT
echo 4 >/proc/sys/vm/nr_hugepages
export CMOCKA_MESSAGE_OUTPUT=tap
status=0
for program in ${programs[*]}; do \$program || status=1; done
exit \$status
TEXT

status=0
"$source_root/scripts/guest/boot" --script "$work/script" "${contents[@]}" |
    tee "$work/console" || status=$?
plan=$(awk -F'1\\.\\.' '/^1\.\.[0-9]+$/ { sum += $2 } END { print sum + 0 }' "$work/console")
passed=$(grep -c '^ok .* - ' "$work/console") || true
# What was skipped, or never ran, has failed.
((plan > 0)) || plan=1
printf '%d passed, %d failed\n' "$passed" "$((plan - passed))"
((status == 0 && passed == plan))
