# shellcheck shell=dash
# Runs in a guest that has namespaces of Samples/nvme-server: `scratch`, one of 32 MiB, if there is
# one, and `disk`, the first other one.  Kernel parameters:
#
#   steps=NAME,...   the functions `step_NAME` to run; each must succeed, and is told as `NAME: ok`
#   namespaces=N     how many namespaces to wait for (default: 1)
#   mib=N            how much to write to the file system, in units of 1 MiB (default: 16)
#
# Lines for people begin with a bar.
set -e

parameter() { tr ' ' '\n' </proc/cmdline | sed -n "s/^$1=//p"; }
say() { echo "| $*"; }
# Runs a command line whose output people see, too.
show() {
    say "# $1"
    sh -c "$1" >/tmp/shown 2>&1 || { cat /tmp/shown; return 1; }
    sed 's/^/|   /' /tmp/shown
}
# In what follows no command that has to succeed is on the left of `&&` or `||`: the shell would go
# on after its failure.

# expect PATTERN COMMAND...: the command succeeds, and a line of its output is like that.
expect() {
    pattern=$1
    shift
    "$@" >/tmp/answer 2>&1 || { cat /tmp/answer; return 1; }
    answered "$pattern"
}
# The command fails, with such a line.
refused() {
    pattern=$1
    shift
    if "$@" >/tmp/answer 2>&1; then
        echo "should have failed: $*"
        return 1
    fi
    answered "$pattern"
}
# Another line of the last answer.
answered() {
    grep -Eiq -e "$1" /tmp/answer && return
    echo "no line like '$1' in:"
    cat /tmp/answer
    return 1
}
drop_caches() { echo 3 >/proc/sys/vm/drop_caches; }

find_namespaces() {
    wanted=$(parameter namespaces)
    tries=0
    while :; do
        count=0 scratch='' disk=''
        for block in /sys/block/nvme*n*; do
            [ -b "/dev/${block##*/}" ] || continue
            count=$((count + 1))
            if [ "$(cat "$block/size")" = 65536 ]; then
                scratch=/dev/${block##*/}
            else
                disk=${disk:-/dev/${block##*/}}
            fi
        done
        [ $count -lt "${wanted:-1}" ] || break
        tries=$((tries + 1))
        [ $tries -le 200 ] || { echo "only $count namespaces"; return 1; }
        sleep 0.1
    done
    controller=${scratch:-$disk}
    controller=${controller%n*}
    for state in /sys/class/nvme/nvme*/state; do
        [ "$(cat "$state")" = live ] || { echo "$state: $(cat "$state")"; return 1; }
    done
}

bytes() {
    case $1 in
        *k) echo $((${1%k} * 1024)) ;;
        *M) echo $((${1%M} * 1048576)) ;;
    esac
}

# Raw, in requests of many sizes.
step_raw() {
    dd if=/dev/urandom of=/tmp/raw bs=1M count=4 2>/dev/null
    for size in 4k 20k 128k 1M; do
        dd if=/tmp/raw "of=$scratch" bs=$size oflag=direct 2>/dev/null
        dd "if=$scratch" of=/tmp/back bs=$size count=$((4194304 / $(bytes $size))) iflag=direct 2>/dev/null
        cmp -n 4177920 /tmp/raw /tmp/back
    done
    # Requests that are under way at the same time.
    dd if=/dev/zero "of=$scratch" bs=1M count=4 oflag=direct 2>/dev/null
    for part in 0 1 2 3; do
        dd if=/tmp/raw "of=$scratch" bs=64k skip=$((part * 16)) seek=$((part * 16)) count=16 \
            oflag=direct 2>/dev/null &
    done
    wait
    dd "if=$scratch" of=/tmp/back bs=1M count=4 iflag=direct 2>/dev/null
    cmp /tmp/raw /tmp/back
}

# What is discarded reads as zeros; what is next to it stays.
step_trim() {
    dd if=/dev/urandom of=/tmp/raw bs=1M count=3 2>/dev/null
    dd if=/tmp/raw "of=$scratch" bs=1M oflag=direct 2>/dev/null
    blkdiscard -o 1048576 -l 1048576 "$scratch"
    dd if=/dev/zero of=/tmp/raw bs=1M seek=1 count=1 conv=notrunc 2>/dev/null
    dd "if=$scratch" of=/tmp/back bs=1M count=3 iflag=direct 2>/dev/null
    cmp /tmp/raw /tmp/back
}

# A file system; what was written is compared after the cache was dropped.
step_make() {
    mib=$(parameter mib)
    rm -f /tmp/raw /tmp/back
    show "mkfs.ext4 -q -F $disk"
    mount -t ext4 "$disk" /mnt
    say "writing ${mib:-16} MiB of random bytes to files"
    for name in 1 2 3 4; do
        dd if=/dev/urandom of=/mnt/$name bs=1M count=$((${mib:-16} / 4)) 2>/dev/null
    done
    (cd /mnt && sha256sum [1-4] >sums)
    sync
    umount /mnt
    drop_caches
    mount -t ext4 "$disk" /mnt
    compare_files
    umount /mnt
}

compare_files() {
    show 'cd /mnt && sha256sum -c sums'
}

# What an earlier guest wrote.
step_kept() {
    mount -t ext4 "$disk" /mnt
    compare_files
    umount /mnt
}

# Writes, flushes and stays there, the file system mounted, for the host to kill the server.
step_hold() {
    mount -t ext4 "$disk" /mnt
    dd if=/dev/urandom of=/mnt/5 bs=1M count=4 2>/dev/null
    (cd /mnt && sha256sum [1-5] >sums)
    sync
    say 'written and flushed; the file system stays mounted'
    echo 'hold: ok'
    sleep 1000
}

# Files go, and the device is told which blocks nobody needs.
step_fstrim() {
    mount -t ext4 "$disk" /mnt
    rm /mnt/3 /mnt/4
    (cd /mnt && sha256sum [1-5] >sums)
    sync
    show 'fstrim -v /mnt'
    umount /mnt
}

# The steps behind this one are for the next time, which a file on the disk tells.
step_reboot() {
    mount -t ext4 "$disk" /mnt
    touch /mnt/rebooted
    umount /mnt
    say 'reboot'
    echo 'reboot: ok'
    stty onlcr </dev/console
    reboot -f
    sleep 60
    return 1
}

# The machine is reset with reads and writes under way, three times, of which nobody tells the device.
step_crash() {
    # The last block of the disk says how often it was.
    last=$(($(cat "/sys/block/${disk##*/}/size") / 8 - 1))
    count=$(dd "if=$disk" bs=4k skip=$last count=1 iflag=direct 2>/dev/null | tr -d '\0')
    [ "${count:-0}" -lt 3 ] || return 0
    echo $((${count:-0} + 1)) >/tmp/count
    dd if=/tmp/count "of=$disk" bs=4k seek=$last conv=sync oflag=direct 2>/dev/null
    dd if=/dev/urandom of=/tmp/raw bs=1M count=2 2>/dev/null
    for device in $scratch $disk; do
        while :; do dd if=/tmp/raw "of=$device" bs=128k oflag=direct 2>/dev/null; done &
        while :; do dd "if=$device" of=/dev/null bs=64k count=64 iflag=direct 2>/dev/null; done &
    done
    sleep 0.$((3 + 2 * ${count:-0}))
    say "reset number $((${count:-0} + 1))"
    stty onlcr </dev/console
    echo b >/proc/sysrq-trigger
    sleep 60
    return 1
}

# What the controller says of itself.
step_identify() {
    show 'nvme list'
    grep -q "^|* *$disk .*vfio-user NVMe controller" /tmp/shown
    show "nvme id-ctrl $controller | grep -E '^(vid|sn|mn|fr|mdts|cntrltype|oacs|oncs|vwc|nn|subnqn) '"
    grep -q 'vid .*: 0x4e58' /tmp/shown
    grep -q 'mn .*: vfio-user NVMe controller' /tmp/shown
    grep -q 'sn .*: VFIOUSER0001' /tmp/shown
    expect '^ver +: 0x10400' nvme id-ctrl "$controller"
    size=$(cat "/sys/block/${disk##*/}/size")
    block=$(cat "/sys/block/${disk##*/}/queue/logical_block_size")
    expect "^nsze +: $(printf '0x%x' $((size * 512 / block)))\$" nvme id-ns "$disk"
    answered 'in use'
    expect '0x1$' nvme list-ns "$controller"
    expect '^uuid' nvme ns-descs "$disk"
}

# Counters count.
step_smart() {
    show "nvme smart-log $controller | grep -E '^(critical|temperature|available|Data|host_|num_err|media)'"
    before=$(smart host_write_commands)
    dd if=/dev/zero "of=${scratch:-$disk}" bs=4k count=25 oflag=direct 2>/dev/null
    after=$(smart host_write_commands)
    say "25 writes later: host_write_commands $before -> $after"
    [ "$after" -eq $((before + 25)) ]
    [ "$(smart media_errors)" = 0 ]
    [ "$(smart critical_warning)" = 0 ]
}

smart() { nvme smart-log "$controller" | sed -n "s/^$1[[:space:]]*: *//p"; }

# NVM commands, each with a check of what it did; on the scratch namespace, 8 KiB from its start.
step_commands() {
    block=$(cat "/sys/block/${scratch##*/}/queue/logical_block_size")
    last=$((8192 / block - 1))
    half=$((4096 / block))
    dd if=/dev/urandom of=/tmp/a bs=8192 count=1 2>/dev/null
    dd if=/dev/zero of=/tmp/zeros bs=8192 count=1 2>/dev/null
    expect Success nvme write "$scratch" -s 0 -c $last -z 8192 -d /tmp/a
    read_back
    cmp /tmp/a /tmp/b
    expect Success nvme compare "$scratch" -s 0 -c $last -z 8192 -d /tmp/a
    refused 'COMPARE_FAILED|Compare Failure|0x[0-9]*285' \
        nvme compare "$scratch" -s 0 -c $last -z 8192 -d /tmp/zeros
    expect Success nvme verify "$scratch" -s 0 -c $last
    refused 'LBA_RANGE|LBA Out of Range|0x[0-9]*80' \
        nvme read "$scratch" -s $((33554432 / block)) -c 0 -z "$block" -d /tmp/b
    expect Success nvme write-zeroes "$scratch" -s 0 -c $((half - 1))
    read_back
    cmp -n 4096 /tmp/zeros /tmp/b
    [ "$(tail -c 4096 /tmp/a | sha256sum)" = "$(tail -c 4096 /tmp/b | sha256sum)" ]
    expect success nvme dsm "$scratch" --ad --slbs=$half --blocks=$half
    read_back
    cmp /tmp/zeros /tmp/b
    expect success nvme flush "$scratch"
    expect '^ Entry\[ 0\]' nvme error-log "$controller" -e 4
    answered 'status_field.*(LBA|0x[0-9]*80)'
    expect 'Number of IO' nvme get-feature "$controller" -f 7 -H
    expect 'Volatile Write Cache' nvme get-feature "$controller" -f 6 -H
    expect 'frs1 .*1\.0' nvme fw-log "$controller"
    expect 'Format NVM' nvme effects-log "$controller" --csi=0
}

read_back() { nvme read "$scratch" -s 0 -c "$last" -z 8192 -d /tmp/b >/tmp/answer 2>&1; }

# Format NVM: the other size of blocks, zeros everywhere, and back.
step_format() {
    from=$(cat "/sys/block/${scratch##*/}/queue/logical_block_size")
    for to in $((4608 - from)) "$from"; do
        dd if=/dev/urandom "of=$scratch" bs=4096 count=4 oflag=direct 2>/dev/null
        expect success nvme format "$scratch" --block-size="$to" --force
        [ "$(cat "/sys/block/${scratch##*/}/queue/logical_block_size")" = "$to" ]
        dd "if=$scratch" of=/tmp/b bs=4096 count=4 iflag=direct 2>/dev/null
        dd if=/dev/zero bs=4096 count=4 2>/dev/null | cmp - /tmp/b
        say "formatted with blocks of $to bytes"
    done
}

# A reset of the controller, with what was written still there.
step_reset() {
    dd if=/dev/urandom of=/tmp/a bs=1M count=1 2>/dev/null
    dd if=/tmp/a "of=$scratch" bs=1M oflag=direct 2>/dev/null
    nvme reset "$controller"
    [ "$(cat "/sys/class/nvme/${controller##*/}/state")" = live ]
    dd "if=$scratch" of=/tmp/b bs=1M count=1 iflag=direct 2>/dev/null
    cmp /tmp/a /tmp/b
}

# Interrupts of the I/O queues, or of INTx, and no polling by timeouts.
step_interrupts() {
    before=$(interrupts)
    dd "if=${scratch:-$disk}" of=/dev/null bs=4k count=50 iflag=direct 2>/dev/null
    after=$(interrupts)
    grep nvme /proc/interrupts | sed 's/^/| /'
    say "50 reads took $((after - before)) interrupts"
    [ $((after - before)) -ge 50 ]
    # Ones without a cause would come in thousands.
    commands=$(($(smart host_read_commands) + $(smart host_write_commands)))
    say "$(interrupts) interrupts, $commands reads and writes"
    [ "$(interrupts)" -lt $((commands + commands / 2 + 500)) ]
}

interrupts() { awk '/nvme/ { sum += $2 } END { print sum + 0 }' /proc/interrupts; }

# The root is the disk.
step_root() {
    say "the root: $(grep ' / ' /proc/mounts)"
    grep -q '^/dev/nvme0n1p1 / ext4 ' /proc/mounts
}

mkdir -p /mnt
say "Linux $(uname -r)"
find_namespaces
for block in /sys/block/nvme*n*; do
    say "/dev/${block##*/}: $(($(cat "$block/size") / 2048)) MiB, blocks of" \
        "$(cat "$block/queue/logical_block_size") bytes"
done
steps=$(parameter steps)
case $steps in
    *reboot,*)
        if mount -t ext4 "$disk" /mnt 2>/dev/null; then
            [ ! -e /mnt/rebooted ] || steps=${steps#*reboot,}
            umount /mnt
        fi ;;
esac
# shellcheck disable=SC2317  # called by the trap
explain() {
    status=$?
    set +x
    [ $status != 0 ] || return 0
    echo "$step: FAILED, after:"
    tail -n 8 /tmp/trace
    dmesg | grep -v '^.*    ' | tail -n 15
    exit $status
}
trap explain EXIT
for step in $(echo "$steps" | tr ',' ' '); do
    started=$(cut -d' ' -f1 /proc/uptime)
    # Not with `||`, which would have the shell go on after a failure in the function.
    { set -x; "step_$step"; set +x; } 2>/tmp/trace
    echo "$step: ok, from $started s to $(cut -d' ' -f1 /proc/uptime) s"
done
step="the end"
errors=$(dmesg | grep -Ec 'nvme.*(timeout|I/O Error|completion polled)|Buffer I/O error|EXT4-fs error|Aborting' || true)
dmesg | grep -E 'nvme|EXT4-fs error' | tail -n 12
echo "errors: $errors"
[ "$errors" = 0 ]
