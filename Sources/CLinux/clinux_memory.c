#define _GNU_SOURCE
#include "clinux_memory.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <fcntl.h>
#include <linux/dma-buf.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/single_threaded.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
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

struct clx_mapped clx_map_shared(int fd, uint64_t offset, size_t length, int protection, void *near) {
    struct clx_mapped result;

    if (offset > INT64_MAX) {
        result.base = NULL;
        result.error = -EOVERFLOW;
        return result;
    }
    /* Without MAP_FIXED the address is a wish: nothing that is there is replaced. */
    result = mapped(mmap(near, length, protection, MAP_SHARED, fd, (off_t)offset));
    if (result.base != NULL) {
        /* Only advice: a mapping that cannot take it is as good. */
        (void)madvise(result.base, length, MADV_DONTDUMP);
    }
    return result;
}

struct clx_mapped clx_map_more(void *end, size_t length) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *const last = (char *)end - page;
    struct clx_mapped result;

    /* Without MREMAP_MAYMOVE nothing moves, and nothing that is there is replaced. */
    result = mapped(mremap(last, page, page + length, 0));
    if (result.base != NULL) {
        result.base = end;
    }
    return result;
}

int clx_may_be_mapped(int fd, int protection) {
    const int flags = fcntl(fd, F_GETFL);
    int seals;

    if (flags < 0 || (flags & O_PATH) != 0 || (flags & O_ACCMODE) == O_WRONLY) {
        return 0;
    }
    if ((protection & PROT_WRITE) == 0) {
        return 1;
    }
    /* Only memory files have seals. */
    seals = fcntl(fd, F_GET_SEALS);
    return (flags & O_ACCMODE) == O_RDWR && (seals < 0 || (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) == 0);
}

struct clx_mapped clx_map_reserved(size_t length) {
    return mapped(mmap(NULL, length, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
}

/*
 * ThreadSanitizer has addresses that it cannot follow. It refuses them when asked with MAP_FIXED, but with
 * MAP_FIXED_NOREPLACE alone it asks for address 0 instead, where the kernel then does put something if it may.
 */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define FIXED (MAP_FIXED_NOREPLACE | MAP_FIXED)
#endif
#endif
#ifndef FIXED
#define FIXED MAP_FIXED_NOREPLACE
#endif

struct clx_mapped clx_map_again(void *base, size_t length, void *at) {
    struct clx_mapped result;

    /* An old length of 0 asks for another view of the same shared pages. */
    if (at == NULL) {
        return mapped(mremap(base, 0, length, MREMAP_MAYMOVE));
    }
    /* mremap() replaces what is there, so that has to be something of ours. */
    result = mapped(mmap(at, length, PROT_NONE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | FIXED, -1, 0));
    if (result.base == NULL) {
        return result;
    }
    /* Kernels that do not know the flag take the address for a hint. */
    if (result.base != at) {
        (void)munmap(result.base, length);
        result.base = NULL;
        result.error = -EEXIST;
        return result;
    }
    result = mapped(mremap(base, 0, length, MREMAP_MAYMOVE | MREMAP_FIXED, at));
    if (result.base == NULL) {
        (void)munmap(at, length);
    }
    return result;
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
    result.sized = result.regular;
    if (result.block) {
        uint64_t size;

        if (ioctl(fd, BLKGETSIZE64, &size) == 0) {
            result.size = size > INT64_MAX ? INT64_MAX : (int64_t)size;
            result.sized = 1;
        }
    } else if ((status.st_mode & S_IFMT) == 0) {
        /* An anonymous file of the kernel: what kind its file system tells. */
        struct statfs system;

        if (fstatfs(fd, &system) == 0 && system.f_type == DMA_BUF_MAGIC) {
            /* Its way to tell its size; it has no position that this could change. */
            off_t size = lseek(fd, 0, SEEK_END);

            result.dma_buf = 1;
            result.sized = size >= 0;
            result.size = size;
        }
    }
    return result;
}

int clx_sealed_against_shrinking(int fd) {
    int seals = fcntl(fd, F_GET_SEALS);

    return seals >= 0 && (seals & F_SEAL_SHRINK) != 0;
}

int clx_dma_buf_sync(int fd, int flags) {
    struct dma_buf_sync sync = {
        .flags = (flags & CLX_SYNC_READ ? DMA_BUF_SYNC_READ : 0) |
                 (flags & CLX_SYNC_WRITE ? DMA_BUF_SYNC_WRITE : 0) |
                 (flags & CLX_SYNC_END ? DMA_BUF_SYNC_END : DMA_BUF_SYNC_START),
    };
    int result;

    do {
        result = ioctl(fd, DMA_BUF_IOCTL_SYNC, &sync);
    } while (result < 0 && (errno == EINTR || errno == EAGAIN));
    return result < 0 ? -errno : 0;
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

int clx_write_present(int fd, const void *buffer, size_t length, uint64_t offset, void *target) {
    struct stat status;
    int result;

    if (fstat(fd, &status) != 0) {
        return -errno;
    }
    if (status.st_size < 0 || offset > (uint64_t)status.st_size ||
        length > (uint64_t)status.st_size - offset) {
        return -EFAULT;
    }
    result = clx_write_fully(fd, buffer, length, offset);
    if (result == -EINVAL) {
        /* Huge page files cannot be written. This call, unlike a store, reports a page that is gone. */
        struct iovec from = {.iov_base = (void *)buffer, .iov_len = length};
        struct iovec to = {.iov_base = target, .iov_len = length};
        ssize_t count = process_vm_writev(getpid(), &from, 1, &to, 1, 0);

        result = count < 0 ? -errno : (size_t)count == length ? 0 : -EFAULT;
    }
    return result;
}

int clx_fence_threads(int prepare) {
    int command = prepare ? MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED : MEMBARRIER_CMD_PRIVATE_EXPEDITED;

    if (!prepare && __libc_single_threaded) {
        return 0; /* the kernel would find out as much, but later */
    }
    return syscall(SYS_membarrier, command, 0, 0) < 0 ? -errno : 0;
}
