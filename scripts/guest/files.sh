# shellcheck shell=bash
# To be sourced: gathers the files of a guest in the directory $tree, from the tree of
# scripts/guest/root in $root.  The functions end the script when they fail.

# shellcheck disable=SC2154  # root, tree and fail are the script's

# busybox, the first process and what it needs.
files_begin() {
    [[ -f $root/guest/versions ]] || fail "$root is not a tree of scripts/guest/root"
    kernel_modules=$(echo "$root"/guest/lib/modules/*)
    declare -gA files_loaded=()
    mkdir "$tree"/{bin,dev,modules,proc,sys,tmp}
    install -m 755 "$root/guest/busybox" "$tree/bin/busybox"
    install -m 755 "$(dirname "${BASH_SOURCE[0]}")/init" "$tree/init"
}

# Files of a module in the order of loading.  Fails if there is no such module.
files_of_module() {
    awk -v wanted="${1//-/_}" '
        { name = $1; sub(/.*\//, "", name); sub(/\.ko.*/, "", name); gsub(/-/, "_", name) }
        name != wanted { next }
        { found = 1 }
        FILENAME ~ /dep$/ { for (i = NF; i > 1; i--) print $i; sub(/:$/, "", $1); print $1 }
        END { exit !found }' "$kernel_modules/modules.dep" "$kernel_modules/modules.builtin"
}

# Modules are numbered, and the guest loads them in that order.
files_add_module() {
    local list file name target
    list=$(files_of_module "$1") || fail "the guest's kernel has no module $1"
    for file in $list; do
        [[ -z ${files_loaded[$file]:-} ]] || continue
        files_loaded[$file]=1
        name=${file##*/}
        target=$(printf '%s/modules/%03d-%s.ko' "$tree" "${#files_loaded[@]}" "${name%%.ko*}")
        case $file in
            *.ko) cp "$kernel_modules/$file" "$target" ;;
            *.ko.xz) "$tree/bin/busybox" xzcat "$kernel_modules/$file" >"$target" ;;
            *) fail "cannot unpack $file" ;;
        esac
    done
}

# A program of the tree, with its libraries where its loader looks for them.
files_add_program() {
    local library list
    [[ -x $root/usr/sbin/$1 ]] || fail "the tree has no program $1"
    mkdir -p "$tree"/{lib64,usr/sbin,usr/lib/x86_64-linux-gnu}
    cp -L "$root/usr/sbin/$1" "$tree/usr/sbin/$1"
    cp -L "$root/lib64/ld-linux-x86-64.so.2" "$tree/lib64"
    list=$(in_tree_run --list "$root/usr/sbin/$1") || fail "the libraries of $1 are not there"
    while read -r library; do
        cp -L "$library" "$tree/usr/lib/x86_64-linux-gnu"
    done < <(sed -n "s|.* => \($root/usr/lib/[^ ]*\) .*|\1|p" <<<"$list")
}

files_add() {
    [[ $1 == *:/* ]] || fail "--add $1 is not SOURCE:/DESTINATION"
    mkdir -p "$(dirname "$tree${1##*:}")"
    cp "${1%:*}" "$tree${1##*:}"
}

# A program of the tree on this machine, by the tree's own loader: no chroot, no privileges.
in_tree_run() {
    "$root/lib64/ld-linux-x86-64.so.2" --inhibit-cache \
        --library-path "$root/usr/lib/x86_64-linux-gnu" "$@"
}

files_pack_initramfs() {
    (cd "$tree" && find . | LC_ALL=C sort | ./bin/busybox cpio -o -H newc -R 0:0 2>/dev/null) \
        >"$1" || fail 'cpio failed'
}
