#!/usr/bin/env bash
# Runs Tests/C/dma_buf.c in a Linux guest, whose kernel makes dma-bufs of memfds; few hosts do.
#
# VFU_PREFIX is the prefix of the installed library (default: installs it first).  Builds the
# guest's tree if need be (scripts/guest/root).  Ends with a line `N passed, N failed`.
set -euo pipefail

source_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
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
    "$VFU_PREFIX/include" "$VFU_PREFIX/lib" dma_buf >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
program=$work/build/dma_buf

# The program and the host's libraries that it needs, each in the guest where it is here.
contents=()
while read -r file; do
    contents+=(--add "$file:$file")
done < <(printf '%s\n' "$program"; ldd "$program" | grep -o '/[^ ]*')
cat >"$work/script" <<TEXT
CMOCKA_MESSAGE_OUTPUT=tap $program
TEXT

status=0
"$source_root/scripts/guest/boot" --script "$work/script" "${contents[@]}" |
    tee "$work/console" || status=$?
plan=$(sed -n 's/^1\.\.\([0-9][0-9]*\)$/\1/p' "$work/console")
passed=$(grep -c '^ok .* - ' "$work/console") || true
# What was skipped, or never ran, has failed.
printf '%d passed, %d failed\n' "$passed" "$((${plan:-1} - passed))"
((status == 0 && passed > 0 && passed == plan))
