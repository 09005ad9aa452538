#define _GNU_SOURCE
#include "nvmefile.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* Debian's headers for user space leave out that block devices take it for a discard. */
#ifndef FALLOC_FL_NO_HIDE_STALE
#define FALLOC_FL_NO_HIDE_STALE 0x04
#endif

/* Never written to. */
static char zeros[NVMESYS_ZEROS] __attribute__((aligned(4096)));

const void *
nvmesys_zeros(void)
{
    return zeros;
}

struct nvmesys_ring {
    struct io_uring ring;
};

static int
allocation_mode(enum nvmesys_kind kind)
{
    switch (kind) {
    case NVMESYS_PUNCH:
        return FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    case NVMESYS_DISCARD:
        return FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE | FALLOC_FL_NO_HIDE_STALE;
    default:
        return FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
    }
}

int64_t
nvmesys_perform(const int files[2], const struct nvmesys_operation *operation)
{
    int fd = files[operation->file];
    off_t offset = (off_t)operation->offset;
    int count = (int)operation->vector_count;
    ssize_t moved;

    switch (operation->kind) {
    case NVMESYS_READ:
        moved = preadv(fd, operation->vectors, count, offset);
        break;
    case NVMESYS_WRITE:
        moved = pwritev(fd, operation->vectors, count, offset);
        break;
    case NVMESYS_WRITE_DURABLE:
        moved = pwritev2(fd, operation->vectors, count, offset, RWF_DSYNC);
        break;
    case NVMESYS_WRITE_ZEROS:
        moved = pwrite(fd, zeros, operation->length, offset);
        break;
    case NVMESYS_SYNC:
        moved = fdatasync(fd);
        break;
    default:
        moved = fallocate(fd, allocation_mode(operation->kind), offset, (off_t)operation->length);
        break;
    }
    return moved < 0 ? -errno : moved;
}

int
nvmesys_ring_open(struct nvmesys_ring **result, unsigned capacity, const int files[2])
{
    struct nvmesys_ring *ring = calloc(1, sizeof(*ring));
    struct io_uring_params params;
    int error;

    if (ring == NULL)
        return -ENOMEM;
    /* The owner enters the kernel often enough: no need to interrupt it for completions. */
    memset(&params, 0, sizeof(params));
    params.flags = IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
    error = io_uring_queue_init_params(capacity, &ring->ring, &params);
    if (error == -EINVAL) {
        /* Before Linux 5.19. */
        memset(&params, 0, sizeof(params));
        error = io_uring_queue_init_params(capacity, &ring->ring, &params);
    }
    if (error != 0) {
        free(ring);
        return error;
    }
    error = io_uring_register_files(&ring->ring, files, 2);
    if (error != 0) {
        nvmesys_ring_close(ring);
        return error;
    }
    *result = ring;
    return 0;
}

void
nvmesys_ring_close(struct nvmesys_ring *ring)
{
    /* Else it keeps them for a while. */
    io_uring_unregister_files(&ring->ring);
    io_uring_queue_exit(&ring->ring);
    free(ring);
}

int
nvmesys_ring_descriptor(const struct nvmesys_ring *ring)
{
    return ring->ring.ring_fd;
}

unsigned
nvmesys_ring_capacity(const struct nvmesys_ring *ring)
{
    return ring->ring.cq.ring_entries;
}

int
nvmesys_ring_add(struct nvmesys_ring *ring, const struct nvmesys_operation *operation, void *data)
{
    struct io_uring_sqe *entry = io_uring_get_sqe(&ring->ring);

    if (entry == NULL)
        return 0;
    switch (operation->kind) {
    case NVMESYS_READ:
        io_uring_prep_readv(entry, operation->file, operation->vectors, operation->vector_count,
                            operation->offset);
        break;
    case NVMESYS_WRITE:
    case NVMESYS_WRITE_DURABLE:
        io_uring_prep_writev2(entry, operation->file, operation->vectors, operation->vector_count,
                              operation->offset, operation->kind == NVMESYS_WRITE ? 0 : RWF_DSYNC);
        break;
    case NVMESYS_WRITE_ZEROS:
        io_uring_prep_write(entry, operation->file, zeros, (unsigned)operation->length, operation->offset);
        break;
    case NVMESYS_SYNC:
        io_uring_prep_fsync(entry, operation->file, IORING_FSYNC_DATASYNC);
        break;
    default:
        io_uring_prep_fallocate(entry, operation->file, allocation_mode(operation->kind),
                                (off_t)operation->offset, (off_t)operation->length);
        break;
    }
    entry->flags |= IOSQE_FIXED_FILE;
    io_uring_sqe_set_data(entry, data);
    return 1;
}

int
nvmesys_ring_submit(struct nvmesys_ring *ring, unsigned wait)
{
    if (wait > 0)
        return io_uring_submit_and_wait(&ring->ring, wait);
    return io_uring_sq_ready(&ring->ring) > 0 ? io_uring_submit(&ring->ring) : 0;
}

int
nvmesys_ring_next(struct nvmesys_ring *ring, void **data, int *result)
{
    struct io_uring_cqe *entry;

    if (io_uring_peek_cqe(&ring->ring, &entry) != 0)
        return 0;
    *data = io_uring_cqe_get_data(entry);
    *result = entry->res;
    io_uring_cqe_seen(&ring->ring, entry);
    return 1;
}
