/*
 * The C library's allocator, counted: a program's own definitions come before those of libc for every library it loads.
 * libc's are reached by the names that glibc keeps for this purpose.
 */
#include "count.h"
#include "internal.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

static _Atomic uint64_t count;
static _Atomic bool counting;

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t number, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static void note(void)
{
    if (counting) {
        count++;
    }
}

void *malloc(size_t size)
{
    note();
    return __libc_malloc(size);
}

void *calloc(size_t number, size_t size)
{
    note();
    return __libc_calloc(number, size);
}

void *realloc(void *old, size_t size)
{
    note();
    return __libc_realloc(old, size);
}

void *memalign(size_t alignment, size_t size)
{
    note();
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    note();
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **result, size_t alignment, size_t size)
{
    void *block;

    note();
    block = __libc_memalign(alignment, size);
    if (block == NULL) {
        return ENOMEM;
    }
    *result = block;
    return 0;
}

void allocations_reset(void) { count = 0; }
void allocations_counted(bool on) { counting = on; }
uint64_t allocations(void) { return count; }
