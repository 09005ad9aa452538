#!/bin/sh
# Builds scaling.c against a library and runs it: run.sh INCLUDE_DIR LIBRARY
set -eu

include=${1:?usage: run.sh INCLUDE_DIR LIBRARY}
library=${2:?usage: run.sh INCLUDE_DIR LIBRARY}
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
cp "$library" "$work/libvfio-user.so.0"
${CC:-cc} -std=gnu11 -Wall -Wextra -Werror -O2 -I "$include" "$here/scaling.c" -o "$work/scaling" \
    "$work/libvfio-user.so.0" -Wl,-rpath,"$work" -pthread
"$work/scaling"
