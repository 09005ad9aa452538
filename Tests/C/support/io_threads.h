/* Two threads that use client memory, and a gate at which they wait while the device is quiesced. */
#ifndef VFU_TEST_IO_THREADS_H
#define VFU_TEST_IO_THREADS_H

#include "support.h"
#include "dirty_log.h"

#include <pthread.h>

/* Regions side by side from page 0x100 on. The last one is reached by file I/O, the others are mapped. */
#define BASE UINT64_C(0x100000)
#define REGIONS 6
#define FILE_REGION (REGIONS - 1)
#define PAGES 64 /* of a region */
#define WORKERS 2

/* What is mapped: 0, or a number of its own for each mapping. To be changed while all threads wait at the gate. */
extern unsigned mapped[REGIONS];

extern struct worker {
    pthread_t thread;
    vfu_ctx_t *ctx;
    unsigned number;
    uint32_t random;
    unsigned long turns;            /* through the gate */
    const char *complaint;          /* the first thing that was wrong */
    bool written[REGIONS][PAGES];   /* in place, so that the page must be dirty; thread n has the pages n modulo WORKERS */
    struct sg_entry kept;           /* an entry that is kept while mappings come and go: */
    unsigned kept_region, kept_mapping;
} workers[WORKERS];

/* The quiesce callback of the test answers EBUSY, and waits for the threads afterwards. */
extern bool quiesces_later;

uint32_t below(struct worker *w, uint32_t limit); /* a random number */
uint64_t address(unsigned region, unsigned page);

void start_workers(vfu_ctx_t *ctx);
void stop_workers(void); /* which must have found nothing wrong */
void let_them_work(void); /* until each has been through the gate again */

void close_gate(void);
void wait_until_nobody_is_inside(void);
void open_gate(void);

/* A quiesce callback: the threads are stopped, at once or later. */
int quiesce_workers(vfu_ctx_t *ctx);

/* A request that quiesces the device, which stays as it is then: the caller opens the gate. */
void change(struct session *s, uint16_t cmd, const void *body, size_t size, int fd);

#endif
