#define _GNU_SOURCE
#include "nvmesystem.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

static int
result(int value)
{
    return value < 0 ? -errno : value;
}

int
nvmesys_open_direct(const char *path, int flags)
{
    return result(open(path, flags | O_CLOEXEC | O_DIRECT));
}

int
nvmesys_punch_hole(int fd, int64_t offset, int64_t length)
{
    return result(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length));
}

int
nvmesys_zero_range(int fd, int64_t offset, int64_t length)
{
    return result(fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, offset, length));
}

int
nvmesys_stay_on(int processor)
{
    cpu_set_t set;

    if (processor < 0 || processor >= CPU_SETSIZE)
        return -EINVAL;
    CPU_ZERO(&set);
    CPU_SET(processor, &set);
    return result(sched_setaffinity(0, sizeof(set), &set));
}

int
nvmesys_termination(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
        return -errno;
    return result(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
}

static void
end(int number)
{
    _exit(128 + number);
}

void
nvmesys_end_on_signals(void)
{
    struct sigaction action = { .sa_handler = end };
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

int
nvmesys_unix_probe(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd, error = 0;

    if (strlen(path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    strcpy(address.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
        error = errno;
    close(fd);
    return -error;
}

int
nvmesys_socket_kind(int fd)
{
    struct sockaddr_un peer;
    socklen_t size = sizeof(int);
    int value;

    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &value, &size) != 0)
        return -errno;
    if (value != AF_UNIX)
        return -EAFNOSUPPORT;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &size) != 0)
        return -errno;
    if (value != SOCK_STREAM)
        return -EPROTOTYPE;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &size) != 0)
        return -errno;
    if (value != 0)
        return NVMESYS_LISTENING;
    size = sizeof(peer);
    if (getpeername(fd, (struct sockaddr *)&peer, &size) != 0)
        return -errno;
    return NVMESYS_CONNECTED;
}

int
nvmesys_eventfd(void)
{
    return result(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

int
nvmesys_epoll(void)
{
    return result(epoll_create1(EPOLL_CLOEXEC));
}

static int
watch(int epoll, int operation, int fd, int reads, int writes)
{
    struct epoll_event event = { .events = (reads ? EPOLLIN : 0) | (writes ? EPOLLOUT : 0) };

    return result(epoll_ctl(epoll, operation, fd, &event));
}

int
nvmesys_epoll_add(int epoll, int fd, int reads, int writes)
{
    return watch(epoll, EPOLL_CTL_ADD, fd, reads, writes);
}

int
nvmesys_epoll_change(int epoll, int fd, int reads, int writes)
{
    return watch(epoll, EPOLL_CTL_MOD, fd, reads, writes);
}

int
nvmesys_epoll_remove(int epoll, int fd)
{
    return watch(epoll, EPOLL_CTL_DEL, fd, 0, 0);
}

int
nvmesys_timer(void)
{
    return result(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
}

int
nvmesys_timer_set(int fd, unsigned milliseconds)
{
    struct itimerspec time = {
        .it_value = { .tv_sec = milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1000000L },
    };

    return result(timerfd_settime(fd, 0, &time, NULL));
}

int
nvmesys_memory_file(const char *name, int64_t size)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int error;

    if (fd < 0)
        return -errno;
    if (ftruncate(fd, size) == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
        return fd;
    error = errno;
    close(fd);
    return -error;
}
