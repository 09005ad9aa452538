/* What a library does while it is in a call: memory it allocates, system calls it makes. */
#ifndef VFU_TEST_COUNT_H
#define VFU_TEST_COUNT_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Counts start at 0 here and end there; under valgrind's callgrind, calls and instructions in between are written to a
 * profile of this name. System calls are counted by a process that traces this one, and not under valgrind.
 */
void count_begin(const char *name);
void count_end(void);

/* What is done between these is counted, with all else that happens in the process meanwhile. */
void count_enter(void);
void count_leave(void);

#define COUNTED(call)                                                                                         \
    ({                                                                                                        \
        __typeof__(call) counted_result;                                                                      \
        count_enter();                                                                                        \
        counted_result = (call);                                                                              \
        count_leave();                                                                                        \
        counted_result;                                                                                       \
    })

uint64_t allocations(void);

bool counts_syscalls(void); /* whether the next is known */
uint64_t syscalls(void);

#endif
