#!/bin/sh
# Plays random memory commands of both modes against a naive model, for a while (libFuzzer, AddressSanitizer).
#
#   Tests/Fuzz/run.sh SECONDS [LIBFUZZER_OPTION]...
#
# What it finds on the way is added to a copy of the corpus; a failure leaves its input in FUZZ_WORK, and
# `run.sh 0 FILE` plays it again. FUZZ_WORK is kept; by default below the package's .build.
set -eu

seconds=${1:?usage: run.sh SECONDS [LIBFUZZER_OPTION]...}
shift
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH='' cd -- "$here/../.." && pwd)
work=${FUZZ_WORK:-$root/.build/fuzz}
built=$work/package
mkdir -p "$work/corpus"
cp -n "$here"/corpus/* "$work/corpus/" 2>/dev/null || true

sanitize=-sanitize=fuzzer,address
cd "$root"
# The modules are compiled by the package manager; only it would want a main function to link them.
swift build -c release --scratch-path "$built" --target VFIOUserServer -Xswiftc $sanitize
modules=$built/release
# Named after the directory that the package is in.
package=$(sed -n 's/.*"-module-name","VFIOUserServer".*"-package-name","\([^"]*\)".*/\1/p' "$built/release.yaml" | head -n 1)
# shellcheck disable=SC2046 # options
swiftc -O $sanitize -parse-as-library -swift-version 6 -package-name "$package" \
    -enable-upcoming-feature ExistentialAny -enable-experimental-feature Lifetimes \
    -I "$modules/Modules" -I Sources/CJSONC $(pkg-config --cflags json-c) \
    -Xcc -fmodule-map-file="$modules/CLinux.build/module.modulemap" \
    $(find "$built/checkouts" -path '*CSystem/include/module.modulemap' -exec echo -Xcc -fmodule-map-file={} \;) \
    "$here"/Memory/*.swift $(find "$modules/" -name '*.o' -path '*.build/*') \
    -o "$work/memory" $(pkg-config --libs json-c)

# A trap is to end the process at once, with the fuzzer's own report.
export SWIFT_BACKTRACE=enable=no
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=0}
if [ "$seconds" -eq 0 ]; then
    exec "$work/memory" "$@"
fi
exec "$work/memory" -max_total_time="$seconds" -timeout=20 -max_len=4096 -artifact_prefix="$work/" "$@" "$work/corpus"
