#!/bin/sh
# Builds and runs the C test-suite of the public API against a libvfio-user.so.0.
#
#   run.sh INCLUDE_DIR LIBRARY_DIR [SUBJECT...]
#
# INCLUDE_DIR holds vfio-user/libvfio-user.h, LIBRARY_DIR libvfio-user.so.0 or libvfio-user.so. Without subjects
# all run.
# Environment: CC, CFLAGS (added to the strict default ones), LDFLAGS, TEST_TIMEOUT (seconds per subject, 300),
# BUILD_DIR (kept; by default a temporary one), VFU_TEST_ONLY (a cmocka filter on test names).
# VFU_TEST_REFERENCE=1: leave out what the C reference library is known to do differently.
# VFU_TEST_NO_SHADOW=1: the library was built without shadow ioeventfds.
set -u

if [ $# -lt 2 ]; then
    echo "usage: $0 INCLUDE_DIR LIBRARY_DIR [SUBJECT...]" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
include=$1
library=$(cd "$2" && pwd) || exit 2
shift 2

all="context order refused_setup reentry callbacks socket_errors log negotiate negotiate_timing request_errors request_order
region region_access region_info write_multi io_fds irq irq_trigger dma_map dma_map_modes dma_unmap
sgl sgl_direct sgl_messages crossing pci_header pci_writes pci_region pci_bars pci_caps pci_cap_places pci_cap_kinds
pci_ext_caps quiesce quiesce_memory quiesce_errors threads reset migration migration_data dirty dirty_bitmap
disconnect hostile fuzz"
# The additions of this library.
[ "${VFU_TEST_REFERENCE:-}" = 1 ] || all="$all
ioas ioas_files ioas_format ioas_setup ioas_threads fail_nth dma_buf huge_pages"
# shellcheck disable=SC2086 # lists of words
[ $# -gt 0 ] || set -- $all

if [ -n "${BUILD_DIR:-}" ]; then
    mkdir -p "$BUILD_DIR" && build=$(cd "$BUILD_DIR" && pwd) || exit 2
else
    build=$(mktemp -d) || exit 2
    trap 'rm -rf "$build"' EXIT
    trap 'exit 2' HUP INT TERM
fi

# Programs find the library by its SONAME, under which a build directory need not have it.
if [ -e "$library/libvfio-user.so.0" ]; then
    shared=$library/libvfio-user.so.0
elif [ -e "$library/libvfio-user.so" ]; then
    shared=$library/libvfio-user.so
else
    echo "$0: no libvfio-user.so.0 in $library" >&2
    exit 2
fi
mkdir -p "$build/lib" && ln -sfn "$shared" "$build/lib/libvfio-user.so.0" || exit 2

cc="${CC:-cc} -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Werror -O1 -g -pthread ${CFLAGS:-}"
objects=
for source in "$here"/support/*.c; do
    object=$build/support-$(basename "$source" .c).o
    $cc -I "$include" -c "$source" -o "$object" || exit 2
    objects="$objects $object"
done

passed=0 failed=0 skipped=0
for subject in "$@"; do
    echo "== $subject"
    program=$build/$subject
    output=$build/$subject.tap
    if ! $cc -I "$include" -I "$here/support" "$here/$subject.c" $objects -o "$program" ${LDFLAGS:-} \
        "$build/lib/libvfio-user.so.0" -Wl,-rpath,"$build/lib" -lcmocka; then
        echo "$subject does not build"
        failed=$((failed + 1))
        continue
    fi
    CMOCKA_MESSAGE_OUTPUT=tap timeout -k 5 "${TEST_TIMEOUT:-300}" "$program" >"$output" 2>&1
    status=$?
    cat "$output"
    good=$(grep -c '^ok .* - ' "$output")
    skip=$(grep -c '^not ok .* # SKIP' "$output")
    bad=$(($(grep -c '^not ok ' "$output") - skip))
    plan=$(sed -n 's/^1\.\.\([0-9][0-9]*\)$/\1/p' "$output" | head -n 1)
    # Tests that were announced and never reported: a crash, an exit or a hang took them along.
    lost=$((${plan:-1} - good - skip - bad))
    if [ "$lost" -gt 0 ]; then
        case $status in
        124 | 137) echo "$subject: timed out, $lost test(s) without a result" ;;
        *) echo "$subject: ended with status $status, $lost test(s) without a result" ;;
        esac
        bad=$((bad + lost))
    elif [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then
        echo "$subject: ended with status $status"
        bad=1
    fi
    passed=$((passed + good)) failed=$((failed + bad)) skipped=$((skipped + skip))
done

echo "$skipped skipped"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
