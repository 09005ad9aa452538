/*
 * Work on a file: described once, and carried out by io_uring or at once.
 *
 * A file is two descriptors of the same one: [0] through the page cache, [1] past it (O_DIRECT).
 */
#ifndef NVMEFILE_H
#define NVMEFILE_H

#include <stdint.h>

struct iovec;

enum nvmesys_kind {
    NVMESYS_READ,
    NVMESYS_WRITE,
    /* A write that is durable when it is done. */
    NVMESYS_WRITE_DURABLE,
    /* What has been written becomes durable, as by fdatasync(). */
    NVMESYS_SYNC,
    /* A hole, which reads as zeros. */
    NVMESYS_PUNCH,
    /* Zeros with room kept for them. */
    NVMESYS_ZERO,
    /* Block devices: the blocks are not needed any more; they may read as anything. */
    NVMESYS_DISCARD,
    /* A write of zeros, at most NVMESYS_ZEROS bytes. */
    NVMESYS_WRITE_ZEROS,
};

/* So many zeros, for as long as the process lives. */
enum { NVMESYS_ZEROS = 256 << 10 };
const void *nvmesys_zeros(void);

struct nvmesys_operation {
    enum nvmesys_kind kind;
    /* Which of the two descriptors. */
    int file;
    /* In bytes. */
    uint64_t offset;
    /* In bytes; where there are no vectors. */
    uint64_t length;
    /* At most 1024; they may change once the operation has been submitted. */
    struct iovec *vectors;
    unsigned vector_count;
};

/* Carries it out: what the system call gives, or a negated errno value. */
int64_t nvmesys_perform(const int files[2], const struct nvmesys_operation *operation);

/* An io_uring for one file. */
struct nvmesys_ring;

/* A negated errno value: there can be none here. `capacity`: a power of two. */
int nvmesys_ring_open(struct nvmesys_ring **ring, unsigned capacity, const int files[2]);
void nvmesys_ring_close(struct nvmesys_ring *ring);

/* Readable while completions wait. */
int nvmesys_ring_descriptor(const struct nvmesys_ring *ring);

/* How many operations can be with the kernel at once. */
unsigned nvmesys_ring_capacity(const struct nvmesys_ring *ring);

/* Takes an operation down; 0: only after a submission. `data` comes back with its completion. */
int nvmesys_ring_add(struct nvmesys_ring *ring, const struct nvmesys_operation *operation, void *data);

/*
 * Gives the kernel what was taken down, in one system call or none, and waits for so many completions.
 * A negated errno value: some may not have been given.
 */
int nvmesys_ring_submit(struct nvmesys_ring *ring, unsigned wait);

/* Takes a completion; 0: there is none. No system call, unless the kernel wants one. */
int nvmesys_ring_next(struct nvmesys_ring *ring, void **data, int *result);

#endif
