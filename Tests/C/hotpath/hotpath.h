/* What the subjects of the hot path tests share. */
#ifndef VFU_TEST_HOTPATH_H
#define VFU_TEST_HOTPATH_H

#include "support.h"
#include "count.h"
#include "irqs.h"

#define ROUNDS 1000
#define REGIONS 1024 /* of client memory, at most */

/* An operation: 0 if it did what it should. The calls into the library are COUNTED in it. */
typedef int operation(struct session *s);

/* Does it so often that all that happens once has happened, and then counts ROUNDS of it. */
void measure(struct session *s, const char *name, operation *op);

/* Nothing allocated and so many system calls, each time. */
void expect(struct session *s, const char *name, operation *op, unsigned calls_each);

/* A device that is polled, with registers in BAR 0, client memory, interrupts and migration; without a client, with
 * one that has said so in JSON, with a legacy one. */
struct session *device(void);
struct session *device_for(const char *json);
struct session *polled(void);

/* 4 KiB of registers that remember what was written. */
ssize_t registers(vfu_ctx_t *ctx, char *bytes, size_t count, loff_t offset, bool is_write);

/* The subjects: tests that failed. */
int test_requests(void);
int test_memory(void);
int test_mapping(void);

#endif
