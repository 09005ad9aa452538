#define _GNU_SOURCE
#include "clinux_memory.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static struct clx_mapped mapped(void *base) {
    struct clx_mapped result = {0};

    if (base == MAP_FAILED) {
        result.error = -errno;
    } else {
        result.base = base;
    }
    return result;
}

struct clx_mapped clx_map_shared(int fd, uint64_t offset, size_t length, int protection) {
    struct clx_mapped result;

    if (offset > INT64_MAX) {
        result.base = NULL;
        result.error = -EOVERFLOW;
        return result;
    }
    result = mapped(mmap(NULL, length, protection, MAP_SHARED, fd, (off_t)offset));
    if (result.base != NULL) {
        /* Only advice: a mapping that cannot take it is as good. */
        (void)madvise(result.base, length, MADV_DONTDUMP);
    }
    return result;
}

struct clx_mapped clx_map_reserved(size_t length) {
    return mapped(mmap(NULL, length, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
}

struct clx_mapped clx_map_again(void *base, size_t length) {
    /* An old length of 0 asks for another view of the same shared pages. */
    return mapped(mremap(base, 0, length, MREMAP_MAYMOVE));
}

struct clx_file_status clx_file_status(int fd) {
    struct clx_file_status result = {0};
    struct stat status;

    if (fstat(fd, &status) != 0) {
        result.error = -errno;
        return result;
    }
    result.device = status.st_dev;
    result.inode = status.st_ino;
    result.size = status.st_size;
    result.block_size = status.st_blksize;
    result.regular = S_ISREG(status.st_mode);
    result.block = S_ISBLK(status.st_mode);
    return result;
}

/* The next step of a transfer: whether to go on, with *result set if not. */
static int moved(ssize_t count, int at_end, int *result) {
    if (count > 0) {
        return 1;
    }
    if (count < 0 && errno == EINTR) {
        return 1;
    }
    *result = count == 0 ? at_end : -errno;
    return 0;
}

int clx_read_fully(int fd, void *buffer, size_t length, uint64_t offset) {
    char *next = buffer;
    int result = 0;

    if (offset > INT64_MAX || length > INT64_MAX - offset) {
        return -EOVERFLOW;
    }
    while (length > 0) {
        ssize_t count = pread(fd, next, length, (off_t)offset);

        if (!moved(count, -ENODATA, &result)) {
            break;
        }
        if (count > 0) {
            next += count;
            offset += (uint64_t)count;
            length -= (size_t)count;
        }
    }
    return result;
}

int clx_write_fully(int fd, const void *buffer, size_t length, uint64_t offset) {
    const char *next = buffer;
    int result = 0;

    if (offset > INT64_MAX || length > INT64_MAX - offset) {
        return -EOVERFLOW;
    }
    while (length > 0) {
        ssize_t count = pwrite(fd, next, length, (off_t)offset);

        if (!moved(count, -EIO, &result)) {
            break;
        }
        if (count > 0) {
            next += count;
            offset += (uint64_t)count;
            length -= (size_t)count;
        }
    }
    return result;
}
