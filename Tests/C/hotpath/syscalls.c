/* System calls, counted by a child process that traces this one. */
#include "count.h"
#include "internal.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <valgrind/callgrind.h>

#ifndef PR_SET_PTRACER
#define PR_SET_PTRACER 0x59616d61
#endif

/* Shared with the tracer from the first count_begin() on; it looks while this process is stopped. */
struct board {
    _Atomic bool inside;
    _Atomic bool ready;
    _Atomic uint64_t entered;
};
static struct board unshared, *board = &unshared;

static pid_t tracer;
static const char *profile;

bool counts_syscalls(void) { return !RUNNING_ON_VALGRIND; }

uint64_t syscalls(void) { return board->entered; }

__attribute__((noreturn)) static void trace(pid_t target)
{
    if (ptrace(PTRACE_SEIZE, target, NULL, PTRACE_O_TRACESYSGOOD) != 0 ||
        ptrace(PTRACE_INTERRUPT, target, NULL, NULL) != 0) {
        perror("ptrace");
        _exit(1);
    }
    for (;;) {
        struct __ptrace_syscall_info info;
        int status, signal = 0;

        if (waitpid(target, &status, __WALL) != target || !WIFSTOPPED(status)) {
            _exit(0);
        }
        if (WSTOPSIG(status) == (SIGTRAP | 0x80)) {
            if (ptrace(PTRACE_GET_SYSCALL_INFO, target, (void *)sizeof(info), &info) < 0) {
                _exit(1);
            }
            board->entered += board->inside && info.op == PTRACE_SYSCALL_INFO_ENTRY;
        } else if (status >> 16 == 0) {
            signal = WSTOPSIG(status);
        } else {
            board->ready = true;
        }
        ptrace(PTRACE_SYSCALL, target, NULL, (void *)(intptr_t)signal);
    }
}

static void start_tracer(void)
{
    pid_t self = getpid();
    int gate[2];
    char byte = 0;

    assert_int_equal(pipe(gate), 0);
    tracer = fork();
    assert_true(tracer >= 0);
    if (tracer == 0) {
        if (read(gate[0], &byte, 1) != 1) {
            _exit(1);
        }
        close(gate[0]);
        close(gate[1]);
        trace(self);
    }
    prctl(PR_SET_PTRACER, tracer, 0, 0, 0);
    assert_int_equal(write(gate[1], &byte, 1), 1);
    close(gate[0]);
    close(gate[1]);
    while (!board->ready) {
        static unsigned polls;

        if (++polls % (1 << 26) == 0 && waitpid(tracer, NULL, WNOHANG) != 0) {
            fail_msg("this process cannot be traced: ptrace must be permitted");
        }
    }
}

void count_begin(const char *name)
{
    profile = name;
    if (board == &unshared) {
        board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        assert_true(board != MAP_FAILED);
    }
    board->ready = false;
    board->entered = 0;
    if (counts_syscalls()) {
        start_tracer();
    }
    allocations_reset();
    CALLGRIND_ZERO_STATS;
}

void count_end(void)
{
    CALLGRIND_DUMP_STATS_AT(profile);
    if (counts_syscalls()) {
        kill(tracer, SIGKILL); /* which detaches it */
        waitpid(tracer, NULL, 0);
    }
}

void count_enter(void)
{
    board->inside = true;
    allocations_counted(true);
}

void count_leave(void)
{
    allocations_counted(false);
    board->inside = false;
}
