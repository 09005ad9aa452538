#!/bin/sh
# What the library may do on its hot paths: allocate nothing, make the fewest system calls, count no references.
#
#   run.sh INCLUDE_DIR LIBRARY
#
# LIBRARY is a release build of libvfio-user.so with its symbols. Needs valgrind, and permission to use ptrace.
# Environment: CC, CFLAGS, VFU_TEST_ONLY (a cmocka filter on test names).
set -eu

include=${1:?usage: run.sh INCLUDE_DIR LIBRARY}
library=${2:?usage: run.sh INCLUDE_DIR LIBRARY}
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# valgrind cannot read the compiler's debugging information. The names of functions stay.
strip --strip-debug -o "$work/libvfio-user.so.0" "$library"
nm "$work/libvfio-user.so.0" | grep -q ' swift_retain$' || {
    echo "run.sh: $library has no symbols" >&2
    exit 2
}
# shellcheck disable=SC2086 # lists of words
${CC:-cc} -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Werror -O1 -g ${CFLAGS:-} -I "$include" -I "$here/../support" \
    "$here"/*.c "$here"/../support/*.c -o "$work/hotpath" "$work/libvfio-user.so.0" -Wl,-rpath,"$work" -pthread -lcmocka

CMOCKA_MESSAGE_OUTPUT=tap
export CMOCKA_MESSAGE_OUTPUT
echo '== allocations and system calls'
timeout -k 5 300 "$work/hotpath" >"$work/output" 2>&1 || {
    cat "$work/output"
    exit 1
}
cat "$work/output"

echo '== reference counting'
timeout -k 5 300 valgrind --tool=callgrind --callgrind-out-file="$work/profile" "$work/hotpath" \
    >"$work/output" 2>&1 || {
    cat "$work/output"
    exit 1
}
# One profile per count_begin(), numbered behind the name; the plain one is the rest of the program.
find "$work" -name 'profile.*' | sort -V | while read -r profile; do
    awk -f "$here/references.awk" "$profile"
done >"$work/references"
awk -v tests="$(grep -c '^ok ' "$work/output")" -v comparisons=9 -f "$here/verdict.awk" "$work/references"
