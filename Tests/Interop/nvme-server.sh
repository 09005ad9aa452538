#!/usr/bin/env bash
# The program nvme-server as a process, driven by nvme-client: every option, its errors and how it ends.
#
# NVME_PROGRAMS is the directory of both programs (default: builds them).  Words after the name select
# checks by their names.  Ends with a line `N passed, N failed`.
# shellcheck disable=SC2317,SC2030,SC2031,SC2015  # functions called by `check`; subshells with a socket of their own
set -uo pipefail

# shellcheck source=Tests/Interop/nvme-processes.sh
source "$(dirname "${BASH_SOURCE[0]}")/nvme-processes.sh"

verifies() { timeout 120 "$client" verify "$socket" "$@"; }
has_size() { "$client" identify "$socket" | grep -Eq "^namespace $1  *$2 blocks of $3 bytes"; }

help_is_there() {
    "$program" --help >"$session/help.log" && says help 'truncate -s 10G disk.img' && says help '--doorbells <way>' &&
        "$program" --version >"$session/version.log" && says version '^[0-9]+\.[0-9]+\.[0-9]+$'
}

nonsense_is_refused() {
    refuses 64 'block-size is 512 or 4096' --socket "$socket" --block-size 1024 &&
        refuses 64 'queues is 1 to 64' --socket "$socket" --queues 65 &&
        refuses 64 'queues is 1 to 64' --socket "$socket" --queues 0 &&
        refuses 64 'stats is 0 to' --socket "$socket" --stats=-1 &&
        refuses 64 'serial is up to 20' --socket "$socket" --serial 123456789012345678901 &&
        refuses 64 'iova address is for' --socket "$socket" --iommufd off --iova address &&
        refuses 64 "invalid for '--memory" --socket "$socket" --memory lots &&
        refuses 64 "invalid for '--memory" --socket "$socket" --memory 0 &&
        refuses 64 "invalid for '--doorbells" --socket "$socket" --doorbells bells &&
        refuses 64 "invalid for '--iommufd" --socket "$socket" --iommufd maybe &&
        refuses 64 "invalid for '--log-level" --socket "$socket" --log-level loud &&
        refuses 64 '(--poll|--event)' --socket "$socket" --poll --event &&
        refuses 64 'Unknown option' --socket "$socket" --unheard-of &&
        refuses 1 'say where clients connect' --memory 1M &&
        refuses 1 'named twice' --socket "$socket" --socket "$socket" &&
        refuses 1 'more --serial than controllers' --socket "$socket" --serial A --serial B &&
        [[ ! -e $socket ]]
}

bad_files_are_refused() {
    : >"$session/empty"
    head -c 1000 /dev/zero >"$session/odd"
    refuses 1 "no such file; make one with: truncate -s 1G $session/none" --socket "$socket" --file "$session/none" &&
        refuses 1 'is empty; give it a size' --socket "$socket" --file "$session/empty" &&
        refuses 1 'not a multiple of the block size, 512; .* truncate -s %512' --socket "$socket" --file "$session/odd" &&
        refuses 1 'is a directory' --socket "$socket" --file "$session" &&
        refuses 1 'neither a file nor a block device' --socket "$socket" --file /dev/null &&
        refuses 1 'not a multiple of the block size, 4096' --socket "$socket" --memory 1K --block-size 4096 &&
        refuses 1 'no room for' --socket "$socket" --memory 4194304T &&
        refuses 1 'no connection to the NBD server' --socket "$socket" --nbd "nbd+unix:///?socket=$session/none" &&
        refuses 1 'no connection to the NBD server' --socket "$socket" --nbd nonsense
}

# A file is one server's, unless all only read it.
files_are_locked() {
    truncate -s 1M "$session/disk"
    serve --file "$session/disk" || return
    refuses 1 'another process uses it' --socket "$session/other" --file "$session/disk" &&
        refuses 1 'another process writes to it' --socket "$session/other" --file "$session/disk" --read-only &&
        stops && serve --file "$session/disk" --read-only &&
        refuses 1 'another process uses it' --socket "$session/other" --file "$session/disk" &&
        launch second "$program" --socket "$session/second" --file "$session/disk" --read-only &&
        wait_for [ -S "$session/second" ] && stops
}

sockets_are_whose_they_are() {
    : >"$session/file"
    serve || return
    refuses 1 'another process listens there' --socket "$socket" &&
        refuses 1 'a file of this name is in the way' --socket "$session/file" &&
        refuses 1 'make it with: mkdir -p' --socket "$session/no/socket" &&
        refuses 1 'at most 107 bytes' --socket "$session/$(printf 'x%.0s' {1..108})" &&
        verifies --count 8 && [[ -f $session/file ]] && stops
}

# One that a killed server left is replaced.
an_abandoned_socket_is_replaced() {
    serve || return
    kill -9 "$server"
    wait "$server"
    [[ -S $socket ]] && serve --memory 1M && wait_for verifies && stops
}

# In a directory it is called cntrl.
a_directory_gets_cntrl() {
    mkdir "$session/directory"
    launch server "$program" --socket "$session/directory" --memory 1M
    server=$pid
    wait_for [ -S "$session/directory/cntrl" ] && socket=$session/directory verifies &&
        kill "$server" && ends 0 && [[ ! -e $session/directory/cntrl ]]
}

# Kinds of stores do not matter.
namespaces_keep_their_order() {
    truncate -s 3M "$session/disk"
    launch nbdkit nbdkit --foreground --unix "$session/nbd" memory 5M
    wait_for [ -S "$session/nbd" ] || return
    serve --nbd "nbd+unix:///?socket=$session/nbd" --memory 2M --file "$session/disk" --memory 1M || return
    has_size 1 10240 512 && has_size 2 4096 512 && has_size 3 6144 512 && has_size 4 2048 512 || return
    local number
    for number in 1 2 3 4; do verifies --namespace "$number" || return; done
    stops
}

without_a_namespace_there_is_one() { serve && has_size 1 2097152 512 && verifies --count 64 && stops; }

blocks_of_4096_bytes() { serve --memory 1M --block-size 4096 && has_size 1 256 4096 && verifies && stops; }

controllers_are_apart() {
    launch server "$program" --memory 1M --socket "$socket" --socket "$session/b" --memory 2M --memory 3M \
        --socket "$session/c" --serial FIRST --serial SECOND
    server=$pid
    wait_for [ -S "$session/c" ] || return
    has_size 1 2048 512 && "$client" identify "$socket" | grep -q 'serial number *FIRST$' || return
    (
        socket=$session/b
        has_size 1 4096 512 && has_size 2 6144 512 && "$client" identify "$socket" | grep -q 'SECOND$'
    ) || return
    (socket=$session/c && has_size 1 2097152 512 && "$client" identify "$socket" | grep -q 'VFIOUSER0003$') || return
    # At the same time.
    verifies --seed 1 &
    local first=$!
    (socket=$session/b && verifies --namespace 2 --seed 2) && wait "$first" &&
        verifies --seed 1 --check && (socket=$session/b && verifies --namespace 2 --seed 2 --check) &&
        kill "$server" && ends 0 && [[ ! -e $socket && ! -e $session/b && ! -e $session/c ]]
}

ways_to_ring() {
    local doorbells waiting
    truncate -s 1M "$session/disk"
    for doorbells in mmap trap ioeventfd; do
        for waiting in --event --poll; do
            serve --memory 1M --file "$session/disk" --doorbells "$doorbells" "$waiting" || return
            verifies && verifies --namespace 2 && verifies --message-doorbells && verifies --interrupts && stops ||
                { echo "with $doorbells $waiting"; return 1; }
        done
    done
}

address_spaces() {
    serve --memory 1M --iommufd off && verifies --mode legacy && ! verifies --mode ioas && stops &&
        serve --memory 1M --iommufd require && verifies --mode ioas && ! verifies --mode legacy && stops &&
        serve --memory 1M --iommufd auto --iova address && verifies --mode ioas && verifies --mode legacy && stops
}

read_only_is_kept() {
    truncate -s 1M "$session/disk"
    chmod a-w "$session/disk"
    serve --file "$session/disk" --memory 1M --read-only || return
    ! verifies --write && ! verifies --namespace 2 --write &&
        timeout 30 "$client" read "$socket" --output "$session/copy" && cmp "$session/disk" "$session/copy" && stops
}

few_queues() { serve --memory 1M --queues 1 && verifies && ! timeout 30 "$client" bench "$socket" --queues 2 --count 9 && stops; }

# A line for every second, of commands.
statistics_are_logged() {
    serve --memory 1M --stats 1 && timeout 60 "$client" bench "$socket" --duration 3 &&
        wait_for says server 'per second [1-9][0-9]* commands, [1-9]' && stops
}

levels_are_kept() {
    serve --memory 1M --log-level info && verifies && says server 'a client is attached' && stops &&
        serve --memory 1M && verifies && stops && ! says server 'a client is attached'
}

# What was flushed is there after any end.
files_keep_what_was_flushed() {
    truncate -s 8M "$session/disk"
    serve --file "$session/disk" && verifies --write --seed 3 && stops &&
        serve --file "$session/disk" && verifies --check --seed 3 && verifies --write --seed 4 || return
    kill -9 "$server"
    wait "$server"
    serve --file "$session/disk" && wait_for verifies --check --seed 4 && stops
}

# begin_bench OPTION...: commands without end, until the server goes.
begin_bench() {
    launch bench timeout 60 "$client" bench "$socket" --duration 50 --depth 64 "$@"
    bench=$pid
    sleep 1
}

ends_in_the_middle() {
    local signal store
    truncate -s 64M "$session/disk"
    for signal in TERM INT; do
        for store in --memory --file; do
            serve "$store" "$([[ $store == --file ]] && echo "$session/disk" || echo 64M)" || return
            begin_bench --pattern randwrite
            kill "-$signal" "$server" && ends 0 && [[ ! -e $socket ]] || return
            # The client sees its controller go.
            ! wait "$bench" || return
        done
    done
}

# A second signal does not wait for a store that does not answer.
a_second_signal_ends_at_once() {
    launch nbdkit nbdkit --foreground --unix "$session/nbd" memory 64M
    local nbdkit=$pid
    wait_for [ -S "$session/nbd" ] && serve --nbd "nbd+unix:///?socket=$session/nbd" || return
    begin_bench
    kill -STOP "$nbdkit"
    sleep 0.5
    kill "$server"
    sleep 0.5
    # It is still waiting.
    kill -0 "$server" || return
    kill "$server"
    ends 143
}

a_lost_nbd_server_is_an_error() {
    launch nbdkit nbdkit --foreground --unix "$session/nbd" memory 8M
    local nbdkit=$pid
    wait_for [ -S "$session/nbd" ] && serve --nbd "nbd+unix:///?socket=$session/nbd" --memory 1M && verifies || return
    kill -9 "$nbdkit"
    wait "$nbdkit"
    ! verifies && says server 'the NBD server has gone' && verifies --namespace 2 || return
    rm "$session/nbd"
    launch nbdkit nbdkit --foreground --unix "$session/nbd" memory 8M
    wait_for [ -S "$session/nbd" ] && wait_for verifies && says server 'the NBD server is back' && stops
}

nbd_errors_are_statuses() {
    launch nbdkit nbdkit --foreground --unix "$session/nbd" --filter=error memory 8M \
        error-pwrite=ENOSPC error-pwrite-rate=100%
    wait_for [ -S "$session/nbd" ] && serve --nbd "nbd+unix:///?socket=$session/nbd" || return
    ! verifies --write && timeout 30 "$client" read "$socket" --output "$session/copy" && stops
}

# A file on a file system of 1 MiB.
a_full_disk_is_an_error() {
    mkdir "$session/small"
    # shellcheck disable=SC2016  # for the other shell
    launch server unshare --map-root-user --mount sh -c 'mount -t tmpfs -o size=1m none "$1" && truncate -s 4M "$1/disk" &&
        exec "$2" --socket "$3" --file "$1/disk"' - "$session/small" "$program" "$socket"
    server=$pid
    wait_for [ -S "$socket" ] || return
    ! verifies --write && verifies --count 8 && stops
}

a_truncated_file_is_an_error() {
    truncate -s 4M "$session/disk"
    serve --file "$session/disk" && verifies --seed 5 || return
    truncate -s 2M "$session/disk"
    ! verifies --check --seed 5 && verifies --check --seed 5 --count 4096 && stops
}

# Requests are carried out at once then.
without_io_uring() {
    cc -Wall -Wextra -Werror "$here/without-io-uring.c" -o "$session/without-io-uring" || return
    truncate -s 4M "$session/disk"
    launch server "$session/without-io-uring" "$program" --socket "$socket" --file "$session/disk"
    server=$pid
    wait_for [ -S "$socket" ] && says server 'no io_uring .Operation not permitted.' && verifies --seed 6 && stops &&
        serve --file "$session/disk" && ! says server 'no io_uring' && verifies --check --seed 6 && stops
}

a_listening_socket_is_taken_over() {
    launch server "$here/handing-over.pl" listen "$socket" env -u LISTEN_FDS "$program" --fd 3 --memory 1M
    server=$pid
    wait_for [ -S "$socket" ] && verifies && verifies && kill "$server" && ends 0
}

sockets_of_systemd() {
    launch server "$here/handing-over.pl" listen "$socket" "$program" --memory 1M
    server=$pid
    wait_for [ -S "$socket" ] && verifies && kill "$server" && ends 0 && rm "$socket" || return
    launch server "$here/handing-over.pl" listen "$socket,$session/b" "$program" \
        --fd b --memory 2M --fd socket --memory 1M
    server=$pid
    wait_for [ -S "$session/b" ] && has_size 1 2048 512 && (socket=$session/b && has_size 1 4096 512) &&
        kill "$server" && ends 0 && rm "$socket" "$session/b" || return
    launch server "$here/handing-over.pl" listen "$socket,$session/b" "$program"
    server=$pid
    wait_for [ -S "$session/b" ] && has_size 1 2097152 512 && (socket=$session/b && has_size 1 2097152 512) &&
        kill "$server" && ends 0 && rm "$socket" "$session/b" || return
    launch server "$here/handing-over.pl" listen "$socket,$session/b" "$program" --memory 1M
    server=$pid
    ends 1 && says server 'say which namespaces belong to which'
}

# The server ends with its one client.
a_connected_socket_is_served() {
    launch server "$here/handing-over.pl" accept "$socket" "$program" --fd 3 --memory 1M
    server=$pid
    wait_for [ -S "$socket" ] && verifies && ends 0
}

# Also if that goes while the controller waits for it.
a_connected_socket_ends_in_the_middle() {
    launch server "$here/handing-over.pl" accept "$socket" "$program" --fd 3 --memory 1M --doorbells trap
    server=$pid
    wait_for [ -S "$socket" ] && "$here/leaving.pl" "$socket" && wait_for has_ended && ends 0
}
has_ended() { ! kill -0 "$server" 2>/dev/null; }

other_descriptors_are_refused() {
    refuses 1 'no such descriptor' --fd 77 && refuses 1 'neither a number nor a name' --fd disk &&
        refuses 1 'not a socket' --fd 0 </dev/null || return
    launch server "$here/handing-over.pl" other "$program" --fd 3
    server=$pid
    ends 1 && says server 'not a UNIX stream socket'
}

# Processor time of the server, in hundredths of a second.
time_of() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }

# With a client that is there and does nothing: at most 3 % of a processor.
an_idle_server_sleeps() {
    local doorbells before after
    for doorbells in mmap trap; do
        serve --memory 64M --doorbells "$doorbells" || return
        begin_bench
        kill -STOP "$(pgrep -P "$bench" nvme-client)" || return
        sleep 2
        before=$(time_of "$server")
        sleep 5
        after=$(time_of "$server")
        echo "$doorbells: $((after - before)) hundredths of a second in 5 s"
        ((after - before <= 15)) || return
        kill -CONT "$(pgrep -P "$bench" nvme-client)"
        kill "$bench"
        kill "$server" && ends 0 || return
    done
}

check 'help and version' help_is_there
check 'a command line that makes no sense' nonsense_is_refused
check 'files that cannot be used' bad_files_are_refused
check 'a file that is used already' files_are_locked
check 'paths that cannot be used' sockets_are_whose_they_are
check 'a socket that was left behind' an_abandoned_socket_is_replaced
check 'a socket in a directory' a_directory_gets_cntrl
check 'memory, file and NBD in the order given' namespaces_keep_their_order
check 'a controller without a namespace' without_a_namespace_there_is_one
check 'blocks of 4096 bytes' blocks_of_4096_bytes
check 'several controllers' controllers_are_apart
check 'doorbells by mmap, trap and ioeventfd, polled and not' ways_to_ring
check 'I/O address spaces' address_spaces
check 'namespaces that are not written to' read_only_is_kept
check 'a number of queues' few_queues
check 'statistics' statistics_are_logged
check 'log levels' levels_are_kept
check 'a file after SIGTERM and after SIGKILL' files_keep_what_was_flushed
check 'SIGTERM and SIGINT with commands in flight' ends_in_the_middle
check 'a second signal' a_second_signal_ends_at_once
check 'an NBD server that goes and comes back' a_lost_nbd_server_is_an_error
check 'an NBD server that is full' nbd_errors_are_statuses
check 'a full disk' a_full_disk_is_an_error
check 'a file that becomes shorter' a_truncated_file_is_an_error
check 'no io_uring' without_io_uring
check 'a listening socket' a_listening_socket_is_taken_over
check 'socket activation' sockets_of_systemd
check 'a connected socket' a_connected_socket_is_served
check 'a connected socket whose client goes in the middle' a_connected_socket_ends_in_the_middle
check 'descriptors that cannot be used' other_descriptors_are_refused
check 'a server with nothing to do' an_idle_server_sleeps

echo "$passed passed, $failed failed"
((failed == 0 && passed > 0))
