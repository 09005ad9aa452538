/*
 * Linux system calls and macros that Swift cannot import: control messages,
 * variadic functions, and calls outside the Glibc module map.
 *
 * Every function returns a result >= 0, or a negated errno. None sets or reads
 * errno for its caller.
 */
#ifndef CLINUX_H
#define CLINUX_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <poll.h>
#include <fcntl.h>
#include <unistd.h>

/* Linux's own limit of descriptors in one SCM_RIGHTS message (SCM_MAX_FD). */
#define CLX_MAX_FDS 253

/* What one receive brought. */
struct clx_received {
    ssize_t count;    /* bytes, 0 at end of file, or a negated errno */
    uint32_t fd_count; /* descriptors stored */
    uint32_t flags;   /* CLX_RECEIVED_* */
};
#define CLX_RECEIVED_TRUNCATED 1u /* control data was cut off by the kernel */
#define CLX_RECEIVED_MALFORMED 2u /* a control item that is no whole number of descriptors */

/* Room for the descriptors of one message. */
union clx_control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(CLX_MAX_FDS * sizeof(int))];
};

/* Takes the descriptors out of what recvmsg() filled in. */
void clx_take_control(struct msghdr *message, int fds[CLX_MAX_FDS], struct clx_received *result);

/*
 * recvmsg() into one buffer, with up to CLX_MAX_FDS descriptors (close-on-exec)
 * stored in fds. Does not retry on EINTR. flags as for recvmsg().
 *
 * In place: what returns right after a system call is predicted wrongly on some
 * processors, which then is most of what a small message costs outside of the kernel.
 */
static inline struct clx_received clx_receive(int socket, void *buffer, size_t length, int flags,
                                              int fds[CLX_MAX_FDS]) {
    union clx_control control;
    struct iovec vector = {.iov_base = buffer, .iov_len = length};
    struct msghdr message = {
        .msg_iov = &vector,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = sizeof(control.bytes),
    };
    struct clx_received result = {0};

    result.count = recvmsg(socket, &message, flags | MSG_CMSG_CLOEXEC);
    if (result.count < 0) {
        result.count = -errno;
    } else if (message.msg_controllen != 0 || message.msg_flags & MSG_CTRUNC) {
        clx_take_control(&message, fds, &result);
    }
    return result;
}

/* send() without SIGPIPE, in place as clx_receive(). Retries on EINTR. Returns the bytes sent. */
static inline ssize_t clx_send_bytes(int socket, const void *bytes, size_t length, int flags) {
    ssize_t sent;

    do {
        sent = send(socket, bytes, length, flags | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : sent;
}

/*
 * sendmsg() of a vector with descriptors attached. Retries on EINTR, never raises
 * SIGPIPE. fd_count is at most CLX_MAX_FDS, else -EINVAL. Returns the bytes sent.
 */
ssize_t clx_send(int socket, const struct iovec *vector, size_t count,
                 const int *fds, size_t fd_count, int flags);

/* 1 if a socket has nothing to receive now, not even its end; leaves what there is. */
int clx_is_quiet(int socket);

/* A listening AF_UNIX stream socket (close-on-exec) bound to path; -ENAMETOOLONG
 * for 108 bytes or more. An empty path binds an abstract name chosen by the kernel. */
int clx_unix_listen(const char *path, int backlog, int nonblocking);

/* A connected AF_UNIX stream socket (close-on-exec). */
int clx_unix_connect(const char *path);

/* accept4() with close-on-exec; nonblocking: -EAGAIN when nobody waits is
 * decided by the listening socket's own flag. Does not retry on EINTR. */
int clx_accept(int listener);

/* An AF_UNIX stream socket pair, close-on-exec. */
int clx_socket_pair(int pair[2]);

/* memfd_create(name, MFD_CLOEXEC | flags). */
int clx_memfd(const char *name, unsigned int flags);

/* eventfd(initial, EFD_CLOEXEC | flags). */
int clx_eventfd(unsigned int initial, int flags);

/* Adds 1 to an eventfd. In place, since what returns right after a system call is
 * predicted wrongly, and interrupts cost little else. */
static inline int clx_signal(int eventfd) {
    static const uint64_t one = 1;

    return write(eventfd, &one, sizeof(one)) < 0 ? -errno : 0;
}

/* Reads an eventfd without waiting, whatever its flags: 0, or -EAGAIN when it
 * has nothing. */
int clx_take_event(int eventfd);

/* fcntl() commands with an int argument or none. */
int clx_fcntl(int fd, int command, int argument);

#endif
