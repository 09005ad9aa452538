/*
 * Mappings and files: calls whose results Swift would have to read from errno.
 *
 * Every function reports failure as a negated errno. None sets or reads errno
 * for its caller.
 */
#ifndef CLINUX_MEMORY_H
#define CLINUX_MEMORY_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A new mapping, or why there is none. */
struct clx_mapped {
    void *base; /* NULL on failure */
    int error;  /* 0, or a negated errno */
};

/* What fstat() tells of a file. */
struct clx_file_status {
    uint64_t device, inode;
    int64_t size;
    int64_t block_size;
    int sized;   /* whether size says how much there is to map */
    int regular; /* whether a regular file */
    int block;   /* whether a block device */
    int dma_buf; /* whether a dma-buf */
    int error;   /* 0, or a negated errno */
};

/* mmap(MAP_SHARED) of a file, left out of core dumps. offset must be a multiple of the page size. It is at the address
 * near if nothing else is, or (also if that is NULL) where the kernel likes. */
struct clx_mapped clx_map_shared(int fd, uint64_t offset, size_t length, int protection, void *near);

/* Makes the shared mapping that ends at the address end larger by length bytes: what comes next in its file. Fails, and
 * changes nothing, if there is no room, or of a kind of mapping that cannot grow. */
struct clx_mapped clx_map_more(void *end, size_t length);

/* Whether a mapping of a file with this protection (PROT_READ, PROT_WRITE) could be made with this descriptor: 1 or 0. */
int clx_may_be_mapped(int fd, int protection);

/* Zeroed private memory that takes no physical memory, nor any promise of it, until it is used. */
struct clx_mapped clx_map_reserved(size_t length);

/* A second mapping of the pages that a shared mapping shows; at is where, NULL for anywhere. -EEXIST if
 * something is mapped there. */
struct clx_mapped clx_map_again(void *base, size_t length, void *at);

struct clx_file_status clx_file_status(int fd);

/* Whether a file can never become shorter: 1 or 0. */
int clx_sealed_against_shrinking(int fd);

/* Tells the exporter of a dma-buf that the processor begins or ends to use it. */
#define CLX_SYNC_READ 1
#define CLX_SYNC_WRITE 2
#define CLX_SYNC_END 4
int clx_dma_buf_sync(int fd, int flags);

/* membarrier(): a memory barrier in every other thread of the process, or (prepare) the registration it needs before.
 * Nothing, if the C library has made no other; it does not know of threads made without it. 0, or a negated errno. */
int clx_fence_threads(int prepare);

/* Moves length bytes at offset, however many calls that takes. Retries on EINTR. 0, or a negated
 * errno; -ENODATA at the end of the file. */
int clx_read_fully(int fd, void *buffer, size_t length, uint64_t offset);
int clx_write_fully(int fd, const void *buffer, size_t length, uint64_t offset);

/* The same for bytes that a shared mapping shows at target, which the file may have lost: -EFAULT then. The
 * file is never made longer. */
int clx_write_present(int fd, const void *buffer, size_t length, uint64_t offset, void *target);

#endif
