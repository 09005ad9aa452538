#!/bin/sh
# Compiles the public C headers in every way a program may, and checks layouts, types and names.
# GCC and CLANG name the compilers; both are needed. Prints "N passed, N failed".
# shellcheck disable=SC2086 # lists of options are meant to be split
set -u
cd "$(dirname "$0")" || exit 2

include=../../../Include
shim=../../../Sources/CShim
gcc=${GCC:-gcc}
clang=${CLANG:-clang}
if ! command -v "$clang" >/dev/null 2>&1; then
    clang=$(dirname "$(command -v swift)")/clang # the one that comes with Swift
fi
warnings="-Wall -Wextra -Wpedantic -Wshadow -Wundef -Werror"
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
passed=0
failed=0

# check NAME COMMAND...: the command must succeed.
check() {
    name=$1
    shift
    if "$@" >"$work/log" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $name"
        head -n 20 "$work/log"
    fi
}

# refuse NAME PATTERN COMMAND...: the command must fail, and say why.
refuse() {
    name=$1
    pattern=$2
    shift 2
    if "$@" >"$work/log" 2>&1; then
        failed=$((failed + 1))
        echo "FAILED: $name was accepted"
    elif grep -q -e "$pattern" "$work/log"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $name was refused for another reason"
        head -n 20 "$work/log"
    fi
}

# declared COMPILER HEADER: the functions of a header and of those it includes.
declared() {
    printf '#include <vfio-user/%s>\n' "$2" | "$1" -std=gnu11 -I "$include" -E -P -x c - |
        tr '\n' ' ' | grep -oE '\b(vfu_[a-z_]+|dma_sg_size) ?\(' | tr -d ' (' | sort -u
}

# tested SOURCE...
tested() {
    sed -n 's/^    \(vfu_[a-z_]*\|dma_sg_size\),$/\1/p' "$@" | sort -u
}

for compiler in "$gcc" "$clang"; do
    for mode in "c c11" "c gnu11" "c gnu17" "c gnu2x" "c++ c++17" "c++ gnu++17" "c++ c++20"; do
        language=${mode% *}
        cc="$compiler -x $language -std=${mode#* } $warnings -I $include"
        [ "$language" = c ] && cc="$cc -Wstrict-prototypes"
        for source in bundle-*.c api.c api-ext.c; do
            check "$compiler $mode $source" $cc -c "$source" -o "$work/object.o"
        done
        for source in layouts.c layouts-pci.c layouts-wire.c; do
            check "$compiler $mode $source" $cc -c "$source" -o "$work/${source%.c}.o"
        done
        check "$compiler $mode layouts: link" \
            "$compiler" "$work/layouts.o" "$work/layouts-pci.o" "$work/layouts-wire.o" -o "$work/layouts"
        check "$compiler $mode layouts: run" "$work/layouts"
        rm -f "$work/layouts" "$work"/*.o
    done

    # Found by its own directory, as programs with their own -I do it.
    printf '#include "libvfio-user.h"\nvfu_ctx_t *context;\n' >"$work/quoted.c"
    check "$compiler quoted include" \
        "$compiler" -std=gnu11 $warnings -I "$include/vfio-user" -c "$work/quoted.c" -o "$work/object.o"

    # The compiler checks the arguments of vfu_log().
    {
        echo '#include <vfio-user/libvfio-user.h>'
        echo 'void f(vfu_ctx_t *c);'
        echo 'void f(vfu_ctx_t *c) { vfu_log(c, LOG_ERR, "%s", 1); }'
    } >"$work/format.c"
    refuse "$compiler vfu_log with a wrong argument" "Wformat\|Werror=format" \
        "$compiler" -std=gnu11 $warnings -I "$include" -c "$work/format.c" -o "$work/object.o"

    # From C++ the functions have their C names.
    "$compiler" -x c++ -std=c++17 -I "$include" -c api.c -o "$work/object.o"
    nm -u "$work/object.o" | grep -oE '(vfu_[a-z_]+|dma_sg_size)$' | sort >"$work/names"
    tested api.c >"$work/tested"
    check "$compiler names from C++" diff "$work/names" "$work/tested"

    # vfu_log(), with a log in C in the place of the library.
    check "$compiler log: compile" \
        "$compiler" -std=gnu11 $warnings -I "$include" -I "$shim/include" -c "$shim/log.c" -o "$work/log.o"
    check "$compiler log: build" "$compiler" -std=gnu11 $warnings -Wno-pedantic -Wno-format-security \
        -I "$include" -I "$shim/include" "$work/log.o" log.c -o "$work/log-test"
    check "$compiler log: run" "$work/log-test"
    check "$compiler log: the seam is not exported" \
        test "$(readelf -sW "$work/log.o" | grep -c 'HIDDEN .* vfu_shim_log')" -eq 2

    # Nobody can look inside.
    for opaque in vfu_ctx_t dma_sg_t; do
        {
            echo '#include <vfio-user/libvfio-user.h>'
            echo "unsigned long size = sizeof($opaque);"
        } >"$work/opaque.c"
        refuse "$compiler size of $opaque" "incomplete" \
            "$compiler" -std=gnu11 $warnings -I "$include" -c "$work/opaque.c" -o "$work/object.o"
    done

    # The layout checks can fail: with every expectation off by one, none holds.
    all_errors=
    "$compiler" --version | grep -q clang && all_errors=-ferror-limit=0
    for source in layouts.c layouts-pci.c layouts-wire.c; do
        "$compiler" -std=gnu11 -DLAYOUTS_OFF_BY=1 -I "$include" $all_errors -c "$source" -o "$work/object.o" \
            >"$work/errors" 2>&1
        expected=$(grep -cE '^(VALUE|TYPE|FIELD|FLEXIBLE|REGISTER)\(' "$source")
        found=$(grep -oE "^$source:[0-9]+" "$work/errors" | sort -u | wc -l)
        check "$compiler $source off by one: $found of $expected noticed" test "$found" -ge "$expected"
    done
    "$compiler" -std=gnu11 -DLAYOUTS_BITS_OFF_BY=1 -I "$include" layouts.c layouts-pci.c -o "$work/layouts"
    bits=$(grep -c '^    BITS(' layouts-pci.c)
    refuse "$compiler bits off by one" "^$bits bit-fields checked, $bits wrong" "$work/layouts"

    declared "$compiler" libvfio-user.h >"$work/declared"
    check "$compiler every function is tested" diff "$work/declared" "$work/tested"
    check "$compiler 34 functions" test "$(wc -l <"$work/declared")" -eq 34
    declared "$compiler" vfu-ext.h >"$work/declared"
    tested api.c api-ext.c >"$work/tested"
    check "$compiler every function of vfu-ext.h is tested" diff "$work/declared" "$work/tested"
    check "$compiler 9 functions in vfu-ext.h" test "$(wc -l <"$work/declared")" -eq 43
done

# Documentation names the parameters that are there.
for header in "$include"/vfio-user/*.h "$include"/vfio-user/pci_caps/*.h; do
    check "documentation of ${header##*/}" \
        "$clang" -std=gnu11 -Wdocumentation -Werror -I "$include" -fsyntax-only -x c "$header"
done

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
