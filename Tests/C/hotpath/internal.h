/* Between the counters only. */
#ifndef VFU_TEST_COUNT_INTERNAL_H
#define VFU_TEST_COUNT_INTERNAL_H

#include <stdbool.h>
#include <sys/types.h>

void allocations_reset(void);
void allocations_counted(bool on);

#endif
