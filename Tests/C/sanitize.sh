#!/bin/sh
# Runs the C test-suite with library and tests under a sanitizer of the Swift toolchain's compilers.
#
#   Tests/C/sanitize.sh address|thread [SUBJECT...]
#
# Environment: SCRATCH (where the library is built, by default .build/SANITIZER), and that of run.sh.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH='' cd -- "$here/../.." && pwd)
case ${1:-} in
address | thread) sanitizer=$1 ;;
*) sed -n '4s/^# *//p' "$0" >&2; exit 2 ;;
esac
shift

# The library leaves the sanitizer's runtime to the program, which has to be of the same make. Hence that clang.
resources=$(swift -print-target-info | sed -n 's/.*"runtimeResourcePath": *"\(.*\)".*/\1/p')
clang=$resources/../../bin/clang
[ -x "$clang" ] || {
    echo "$0: no clang in the Swift toolchain of $resources" >&2
    exit 2
}

scratch=${SCRATCH:-$root/.build/$sanitizer}
build() { swift build --package-path "$root" --scratch-path "$scratch" --sanitize "$sanitizer" "$@"; }
build --product vfio-user

# Warnings that the system's compiler does not have; it judges the tests.
others="-Wno-unterminated-string-initialization -Wno-gnu-variable-sized-type-not-at-end"
export CC="$clang" CFLAGS="-fsanitize=$sanitizer -fno-omit-frame-pointer $others ${CFLAGS:-}"
export LDFLAGS="-fsanitize=$sanitizer -fuse-ld=lld ${LDFLAGS:-}"
if [ "$sanitizer" = thread ]; then
    # This toolchain's runtime for it knows libdispatch, and wants to have it.
    LDFLAGS="$LDFLAGS -L$resources/linux -Wl,-rpath,$resources/linux -ldispatch -lBlocksRuntime"
fi
export ASAN_OPTIONS="detect_leaks=1:detect_stack_use_after_return=1:${ASAN_OPTIONS:-}"
# A data race makes the program fail in the end, after all of its tests.
export TSAN_OPTIONS="exitcode=66:suppressions=$root/Tests/tsan.supp:${TSAN_OPTIONS:-}"

library=$(build --show-bin-path)
log=$(mktemp)
trap 'rm -f "$log"' EXIT
trap 'exit 130' INT TERM

# A program of broken.c must fail, by a report.
must_report() {
    if VFU_TEST_ONLY=$1 "$here/run.sh" "$root/Include" "$library" broken >"$log" 2>&1 || ! grep -q "$2" "$log"; then
        cat "$log" >&2
        echo "$0: the $sanitizer sanitizer does not report the $1" >&2
        exit 1
    fi
    echo "control: $2"
}
case $sanitizer in
thread) must_report race 'ThreadSanitizer: data race' ;;
address)
    must_report use_after_destroy 'AddressSanitizer: heap-use-after-free'
    must_report leak 'LeakSanitizer: detected memory leaks'
    ;;
esac
"$here/run.sh" "$root/Include" "$library" "$@"
