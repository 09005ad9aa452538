/* Dirty logging: a device to watch, the requests of the log, writes that show up in it. */
#ifndef VFU_TEST_DIRTY_LOG_H
#define VFU_TEST_DIRTY_LOG_H

#include "support.h"

#define START VFIO_DEVICE_FEATURE_DMA_LOGGING_START
#define STOP VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP
#define REPORT VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT
#define BITMAP VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP

/* Region A: 32 pages from page 0x10, with memory. Region B: 16 pages from page 0x40, without. */
#define A_PAGE UINT64_C(0x10)
#define A (A_PAGE * PS)
#define A_SIZE (32 * PS)
#define B (0x40 * PS)
#define B_SIZE (16 * PS)

/* The payload of START: page size, number of ranges, reserved. */
struct control {
    uint64_t page_size;
    uint32_t num_ranges, reserved;
};

/* The payload of REPORT. */
struct range {
    uint64_t iova, length, page_size;
};

/* One scatter/gather entry, filled by look_up(). */
struct sg_entry {
    uint64_t word[5];
};
extern struct sg_entry sg;
#define SG ((dma_sg_t *)&sg)

/* Both regions mapped, migration set up, not logging. */
struct session *logging_device(void);

void start_logging(struct session *s, uint64_t page_size);
void start_logging_fails(struct session *s, uint64_t page_size, int error);
void stop_logging(struct session *s);

size_t bitmap_size(uint64_t length, uint64_t page_size);

/* Reports a range; the bitmap lives until the next reply. */
const uint64_t *report(struct session *s, uint64_t iova, uint64_t length, uint64_t page_size);
void report_fails(struct session *s, uint64_t iova, uint64_t length, uint64_t page_size, int error);

/* The usual report: half of region A, 16 pages; its answer tells of all 32, being one word. */
uint64_t half(struct session *s);

void look_up(struct session *s, uint64_t addr, uint64_t len, int prot);

/* Gets and puts pages (numbers are absolute), which makes them dirty. */
void touch(struct session *s, uint64_t page, uint64_t n);

/* Touches pages 0 and 6 to 9 of region A. */
void make_pattern(struct session *s);

#endif
