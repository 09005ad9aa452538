# Runs in the guest, with two namespaces of Samples/NVMe: 32 MiB, and 64 MiB that the test keeps in
# a file.  The first time everything is written, the next times it is compared.
# The kernel parameter `again=reboot` makes the first time end in a reboot.
set -e
# The names come in any order.
for name in nvme0n1 nvme0n2; do
    tries=0
    until [ -b "/dev/$name" ]; do
        tries=$((tries + 1))
        [ $tries -le 100 ]
        sleep 0.1
    done
    case $(cat "/sys/block/$name/size") in
        65536) memory=/dev/$name ;;
        131072) disk=/dev/$name ;;
    esac
done
[ -n "$memory" ] && [ -n "$disk" ]
[ "$(cat /sys/class/nvme/nvme0/state)" = live ]

# The namespace in memory, raw, in requests of many sizes.
raw() {
    dd if=/dev/urandom of=/tmp/raw bs=1M count=8 2>/dev/null
    for size in 4k 20k 128k 1M; do
        dd if=/tmp/raw "of=$memory" bs=$size oflag=direct 2>/dev/null
        dd "if=$memory" of=/tmp/back bs=$size count=$((8388608 / $(bytes $size))) iflag=direct 2>/dev/null
        cmp -n 8126464 /tmp/raw /tmp/back
    done
    echo "raw: ok"
}

bytes() {
    case $1 in
        *k) echo $((${1%k} * 1024)) ;;
        *M) echo $((${1%M} * 1048576)) ;;
        *) echo "$1" ;;
    esac
}

# What is discarded reads as zeros; what is next to it stays.
trim() {
    blkdiscard -o 1048576 -l 1048576 "$memory"
    dd "if=$memory" of=/tmp/back bs=1M count=3 iflag=direct 2>/dev/null
    dd if=/dev/zero of=/tmp/zeros bs=1M count=1 2>/dev/null
    dd if=/tmp/back bs=1M skip=1 count=1 2>/dev/null | cmp - /tmp/zeros
    cmp -n 1048576 /tmp/raw /tmp/back
    dd if=/tmp/back bs=1M skip=2 count=1 2>/dev/null >/tmp/third
    dd if=/tmp/raw bs=1M skip=2 count=1 2>/dev/null | cmp - /tmp/third
    echo "trim: ok"
}

mkdir -p /mnt
if mount -t ext4 "$disk" /mnt 2>/dev/null; then
    (cd /mnt && sha256sum -c sums >/dev/null)
    umount /mnt
    echo "kept: ok"
else
    raw
    trim
    mke2fs -b 4096 "$disk" >/dev/null
    mount -t ext4 "$disk" /mnt
    for name in 1 2 3 4; do dd if=/dev/urandom of=/mnt/$name bs=1M count=5 2>/dev/null; done
    (cd /mnt && sha256sum 1 2 3 4 >sums)
    rm /tmp/raw /tmp/back
    sync
    fstrim /mnt >/dev/null
    echo "made: ok"
    if grep -q 'again=reboot' /proc/cmdline; then
        umount /mnt
        echo "rebooting"
        reboot -f
        sleep 60
    fi
    # Without a clean unmount: what was flushed has to be there.
fi
errors=$(dmesg | grep -Ec 'nvme.*(timeout|I/O Error|reset)|Buffer I/O error' || true)
echo "errors: $errors"
[ "$errors" = 0 ]
