#!/bin/sh
# Plays what a client could do, for a while (libFuzzer, AddressSanitizer).
#
#   Tests/Fuzz/run.sh [memory|nvme] SECONDS [LIBFUZZER_OPTION]...
#
# memory (the default): random memory commands of both modes, against a naive model. nvme: what a driver does with the
# NVMe sample's controller.
#
# What it finds on the way is added to a copy of the corpus; a failure leaves its input in FUZZ_WORK, and
# `run.sh 0 FILE` plays it again. FUZZ_WORK is kept; by default below the package's .build.
set -eu

target=memory
case ${1:-} in memory | nvme)
    target=$1
    shift
    ;;
esac
seconds=${1:?usage: run.sh [memory|nvme] SECONDS [LIBFUZZER_OPTION]...}
shift
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH='' cd -- "$here/../.." && pwd)
case $target in
memory)
    module=VFIOUserServer
    sources=$here/Memory
    corpus=$here/corpus
    systemModules='-I Sources/CJSONC'
    libraries=json-c
    ;;
nvme)
    module=NVMeSupport
    sources=$here/NVMe
    corpus=$here/NVMe/corpus
    systemModules='-I Samples/NVMe/CLiburing -I Samples/NVMe/CLibnbd'
    libraries='liburing libnbd'
    ;;
esac
work=${FUZZ_WORK:-$root/.build/fuzz}/$target
built=$work/package
mkdir -p "$work/corpus"
cp -n "$corpus"/* "$work/corpus/" 2>/dev/null || true

sanitize=-sanitize=fuzzer,address
cd "$root"
# The modules are compiled by the package manager; only it would want a main function to link them.
swift build -c release --scratch-path "$built" --target "$module" -Xswiftc $sanitize
modules=$built/release
# Named after the directory that the package is in.
package=$(sed -n 's/.*"-module-name","'"$module"'".*"-package-name","\([^"]*\)".*/\1/p' "$built/release.yaml" | head -n 1)
# shellcheck disable=SC2046,SC2086 # options
swiftc -O $sanitize -parse-as-library -swift-version 6 -package-name "$package" \
    -enable-upcoming-feature ExistentialAny -enable-experimental-feature Lifetimes \
    -I "$modules/Modules" $systemModules $(pkg-config --cflags $libraries) \
    $(find "$modules/" -path '*.build/module.modulemap' -exec echo -Xcc -fmodule-map-file={} \;) \
    $(find "$built/checkouts" -path '*CSystem/include/module.modulemap' -exec echo -Xcc -fmodule-map-file={} \;) \
    "$sources"/*.swift $(find "$modules/" -name '*.o' -path '*.build/*') \
    -o "$work/$target" $(pkg-config --libs $libraries)

# A trap is to end the process at once, with the fuzzer's own report.
export SWIFT_BACKTRACE=enable=no
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=0}
if [ "$seconds" -eq 0 ]; then
    exec "$work/$target" "$@"
fi
exec "$work/$target" -max_total_time="$seconds" -timeout=20 -max_len=4096 -artifact_prefix="$work/" "$@" "$work/corpus"
