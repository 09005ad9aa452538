#!/bin/sh
# Fails if docs/conformance.md names a test that does not exist or does not run.
#
#   Tests/C/conformance.sh
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
cd "$root"
subjects=" $(sed -n '/all="/,/"/p' Tests/C/run.sh | tr -c 'a-z_' ' ') "
# Tests are named in tables only.
names=$(grep '^|' docs/conformance.md | grep -o '`[A-Za-z_/]*\.[A-Za-z_0-9]*`' | tr -d '`' | sort -u)
checked=0 missing=0

complain() {
    missing=$((missing + 1))
    echo "docs/conformance.md: $1" >&2
}

for name in $names; do
    file=${name%.*} test=${name##*.}
    case $name in
    */*)
        source=Tests/${file%%/*}Tests/${file#*/}.swift
        grep -qs "func $test[(<]" "$source" || complain "$name: no such test"
        ;;
    *)
        source=Tests/C/$file.c
        case $subjects in
        *" $file "*) ;;
        *) complain "$name: Tests/C/run.sh does not run $file" ;;
        esac
        { grep -qs "^TEST($test)" "$source" && grep -qs "CASE($test)," "$source"; } || complain "$name: no such test"
        ;;
    esac
    checked=$((checked + 1))
done

if [ "$checked" -lt 100 ]; then
    complain "only $checked tests found: the format has changed"
fi
echo "$checked tests named, $missing missing"
[ "$missing" -eq 0 ]
