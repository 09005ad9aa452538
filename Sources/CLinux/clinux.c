#define _GNU_SOURCE
#include "clinux.h"

#include <string.h>

void clx_take_control(struct msghdr *message, int fds[CLX_MAX_FDS], struct clx_received *result) {
    struct cmsghdr *item;

    if (message->msg_flags & MSG_CTRUNC) {
        result->flags |= CLX_RECEIVED_TRUNCATED;
    }
    for (item = CMSG_FIRSTHDR(message); item != NULL; item = CMSG_NXTHDR(message, item)) {
        size_t size, count;

        if (item->cmsg_level != SOL_SOCKET || item->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        size = item->cmsg_len - CMSG_LEN(0);
        if (item->cmsg_len < CMSG_LEN(sizeof(int)) || size % sizeof(int) != 0) {
            result->flags |= CLX_RECEIVED_MALFORMED;
            continue;
        }
        count = size / sizeof(int);
        /* The buffer has room for CLX_MAX_FDS in all, so this cannot overflow fds. */
        if (count > CLX_MAX_FDS - result->fd_count) {
            count = CLX_MAX_FDS - result->fd_count;
        }
        memcpy(fds + result->fd_count, CMSG_DATA(item), count * sizeof(int));
        result->fd_count += (uint32_t)count;
    }
}

ssize_t clx_send(int socket, const struct iovec *vector, size_t count,
                 const int *fds, size_t fd_count, int flags) {
    union clx_control control;
    struct msghdr message = {
        .msg_iov = (struct iovec *)vector,
        .msg_iovlen = count,
    };
    ssize_t sent;

    flags |= MSG_NOSIGNAL;
    if (fd_count > CLX_MAX_FDS) {
        return -EINVAL;
    }
    if (fd_count > 0) {
        size_t size = fd_count * sizeof(int);

        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(size);
        memset(control.bytes, 0, message.msg_controllen);
        control.align.cmsg_level = SOL_SOCKET;
        control.align.cmsg_type = SCM_RIGHTS;
        control.align.cmsg_len = CMSG_LEN(size);
        memcpy(CMSG_DATA(&control.align), fds, size);
    }
    do {
        sent = sendmsg(socket, &message, flags);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : sent;
}

int clx_is_quiet(int socket) {
    char byte;

    return recv(socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

/* Fills address and returns its length, or a negated errno. */
static int unix_address(const char *path, struct sockaddr_un *address) {
    size_t length = strlen(path);

    if (length >= sizeof(address->sun_path)) {
        return -ENAMETOOLONG;
    }
    memset(address, 0, sizeof(*address));
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, path, length);
    return length == 0 ? (int)sizeof(sa_family_t) : (int)sizeof(*address);
}

/* Closes fd and returns the negated errno from before. */
static int close_failed(int fd) {
    int error = -errno;

    close(fd);
    return error;
}

int clx_unix_listen(const char *path, int backlog, int nonblocking) {
    struct sockaddr_un address;
    int length = unix_address(path, &address);
    int fd;

    if (length < 0) {
        return length;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0), 0);
    if (fd < 0) {
        return -errno;
    }
    if (bind(fd, (struct sockaddr *)&address, (socklen_t)length) != 0) {
        return close_failed(fd);
    }
    if (listen(fd, backlog) != 0) {
        int error = close_failed(fd);

        if (path[0] != '\0') {
            unlink(path);
        }
        return error;
    }
    return fd;
}

int clx_unix_connect(const char *path) {
    struct sockaddr_un address;
    int length = unix_address(path, &address);
    int fd;

    if (length < 0) {
        return length;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    while (connect(fd, (struct sockaddr *)&address, (socklen_t)length) != 0) {
        if (errno != EINTR) {
            return close_failed(fd);
        }
    }
    return fd;
}

int clx_accept(int listener) {
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

int clx_socket_pair(int pair[2]) {
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0 ? -errno : 0;
}

int clx_memfd(const char *name, unsigned int flags) {
    int fd = memfd_create(name, MFD_CLOEXEC | flags);

    return fd < 0 ? -errno : fd;
}

int clx_eventfd(unsigned int initial, int flags) {
    int fd = eventfd(initial, EFD_CLOEXEC | flags);

    return fd < 0 ? -errno : fd;
}

int clx_take_event(int eventfd) {
    uint64_t count;
    struct iovec vector = {.iov_base = &count, .iov_len = sizeof(count)};
    ssize_t got = preadv2(eventfd, &vector, 1, -1, RWF_NOWAIT);

    if (got < 0) return -errno;
    return got == sizeof(count) ? 0 : -EAGAIN;
}

int clx_fcntl(int fd, int command, int argument) {
    int result = fcntl(fd, command, argument);

    return result < 0 ? -errno : result;
}
