/*
 * What Linux has and Swift's module of the C library leaves out. Failures are negated errno values.
 */
#ifndef NVMESYSTEM_H
#define NVMESYSTEM_H

#include <stdint.h>

/* open() with O_CLOEXEC and O_DIRECT. */
int nvmesys_open_direct(const char *path, int flags);

/* fallocate() that keeps the file's size: a hole, or zeros with room kept for them. */
int nvmesys_punch_hole(int fd, int64_t offset, int64_t length);
int nvmesys_zero_range(int fd, int64_t offset, int64_t length);

/* Blocks SIGTERM and SIGINT in this thread; a descriptor that is readable when one is pending. */
int nvmesys_termination(void);

/* Keeps this thread on one processor, from 0 on. */
int nvmesys_stay_on(int processor);

/* From now on SIGTERM and SIGINT end the process at once, with a status of 128 and their number. */
void nvmesys_end_on_signals(void);

/* Connects to a UNIX socket, without waiting, and closes it again; -ECONNREFUSED: nobody listens. */
int nvmesys_unix_probe(const char *path);

/* What a UNIX stream socket is for; -ENOTSOCK, -EAFNOSUPPORT or -EPROTOTYPE: it is none; -ENOTCONN: neither. */
enum { NVMESYS_LISTENING, NVMESYS_CONNECTED };
int nvmesys_socket_kind(int fd);

/* An eventfd that never blocks, close-on-exec. */
int nvmesys_eventfd(void);

/* An epoll instance, close-on-exec; what it watches a descriptor for, anew or from now on; and no more. */
int nvmesys_epoll(void);
int nvmesys_epoll_add(int epoll, int fd, int reads, int writes);
int nvmesys_epoll_change(int epoll, int fd, int reads, int writes);
int nvmesys_epoll_remove(int epoll, int fd);

/* A timerfd that never blocks, close-on-exec; readable once after so many milliseconds, 0: never. */
int nvmesys_timer(void);
int nvmesys_timer_set(int fd, unsigned milliseconds);

/* memfd_create() with close-on-exec, of a size that it keeps; whoever it is sent to cannot seal it further. */
int nvmesys_memory_file(const char *name, int64_t size);

/* Has the processor fetch the cache line at an address, which need not be valid. */
static inline void
nvmesys_prefetch(const void *address)
{
    __builtin_prefetch(address);
}

#endif
