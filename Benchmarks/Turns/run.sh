#!/bin/sh
# Servers in turns of some milliseconds: run.sh INCLUDE_DIR [OPTION]... SERVER SERVER... (without servers: how)
set -eu

include=${1:?usage: run.sh INCLUDE_DIR [OPTION]... SERVER SERVER...}
shift
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
${CC:-cc} -std=gnu11 -Wall -Wextra -Werror -O2 -I "$include" "$here"/*.c -o "$work/turns" -ldl
"$work/turns" "$@"
