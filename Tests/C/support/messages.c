/* The client's side of the protocol: sending requests, receiving replies, judging them. */
#include "support.h"

#include <poll.h>

int run(struct session *s)
{
    s->result = vfu_run_ctx(s->ctx);
    s->run_errno = errno;
    return s->result;
}

void send_message(int fd, const struct vfio_user_header *header, const void *payload, size_t size,
                  const int *fds, size_t nr_fds)
{
    union {
        struct cmsghdr align;
        char buffer[CMSG_SPACE(256 * sizeof(int))];
    } control = {0};
    struct iovec parts[2] = {
        {.iov_base = (void *)(uintptr_t)header, .iov_len = sizeof(*header)},
        {.iov_base = (void *)(uintptr_t)payload, .iov_len = size},
    };
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = size > 0 ? 2 : 1};

    if (nr_fds > 0) {
        struct cmsghdr *item;

        assert_true(nr_fds <= 256);
        message.msg_control = control.buffer;
        message.msg_controllen = CMSG_SPACE(nr_fds * sizeof(int));
        item = CMSG_FIRSTHDR(&message);
        item->cmsg_level = SOL_SOCKET;
        item->cmsg_type = SCM_RIGHTS;
        item->cmsg_len = CMSG_LEN(nr_fds * sizeof(int));
        memcpy(CMSG_DATA(item), fds, nr_fds * sizeof(int));
    }
    assert_int_equal(sendmsg(fd, &message, MSG_NOSIGNAL), sizeof(*header) + size);
}

struct vfio_user_header command_header(struct session *s, uint16_t cmd, size_t payload_size)
{
    struct vfio_user_header header = {
        .msg_id = s->next_id++,
        .cmd = cmd,
        .msg_size = (uint32_t)(sizeof(header) + payload_size),
        .flags = VFIO_USER_F_TYPE_COMMAND,
    };
    return header;
}

uint16_t send_request_fds(struct session *s, uint16_t cmd, const void *payload, size_t size, const int *fds,
                          size_t nr_fds)
{
    struct vfio_user_header header = command_header(s, cmd, size);

    send_message(s->client, &header, payload, size, fds, nr_fds);
    return header.msg_id;
}

uint16_t send_request(struct session *s, uint16_t cmd, const void *payload, size_t size)
{
    return send_request_fds(s, cmd, payload, size, NULL, 0);
}

bool nothing_to_receive(int fd)
{
    char byte;
    ssize_t n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

    return n == -1 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

bool at_end_of_file(int fd)
{
    char byte;
    ssize_t n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

    return n == 0 || (n == -1 && errno == ECONNRESET);
}

void drop_reply(struct session *s)
{
    for (size_t i = 0; i < s->reply.nr_fds; i++) {
        if (s->reply.fds[i] != -1) {
            close(s->reply.fds[i]);
        }
    }
    s->reply.nr_fds = 0;
    s->reply.size = 0;
}

int take_fd(struct reply *reply, size_t index)
{
    int fd;

    assert_true(index < reply->nr_fds);
    fd = reply->fds[index];
    reply->fds[index] = -1;
    return fd;
}

static void collect_fds(struct reply *reply, struct msghdr *message)
{
    for (struct cmsghdr *item = CMSG_FIRSTHDR(message); item != NULL; item = CMSG_NXTHDR(message, item)) {
        if (item->cmsg_level == SOL_SOCKET && item->cmsg_type == SCM_RIGHTS) {
            size_t n = (item->cmsg_len - CMSG_LEN(0)) / sizeof(int);

            assert_true(reply->nr_fds + n <= ARRAY_LEN(reply->fds));
            memcpy(&reply->fds[reply->nr_fds], CMSG_DATA(item), n * sizeof(int));
            reply->nr_fds += n;
        }
    }
}

struct reply *receive_on(struct session *s, int fd)
{
    struct reply *reply = &s->reply;
    struct vfio_user_header header;
    union {
        struct cmsghdr align;
        char buffer[CMSG_SPACE(256 * sizeof(int))];
    } control;
    struct iovec parts[2];
    struct msghdr message = {
        .msg_iov = parts,
        .msg_iovlen = 2,
        .msg_control = control.buffer,
        .msg_controllen = sizeof(control.buffer),
    };
    size_t done, total;
    ssize_t n;

    drop_reply(s);
    assert_int_equal(recv(fd, &header, sizeof(header), MSG_PEEK | MSG_WAITALL), sizeof(header));
    total = header.msg_size;
    assert_in_range(total, sizeof(header), 2 * MAX_MESSAGE);
    reply->size = total - sizeof(header);
    free(reply->data);
    reply->data = malloc(reply->size + 1);
    assert_non_null(reply->data);

    parts[0] = (struct iovec){.iov_base = &reply->header, .iov_len = sizeof(reply->header)};
    parts[1] = (struct iovec){.iov_base = reply->data, .iov_len = reply->size};
    n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    assert_true(n >= (ssize_t)sizeof(header));
    assert_int_equal(message.msg_flags & MSG_CTRUNC, 0);
    collect_fds(reply, &message);
    done = (size_t)n;
    if (total <= 4096) {
        assert_int_equal(done, total);
    }
    while (done < total) {
        n = recv(fd, reply->data + done - sizeof(header), total - done, 0);
        assert_true(n > 0);
        done += (size_t)n;
    }
    return reply;
}

struct reply *receive(struct session *s)
{
    return receive_on(s, s->client);
}

void assert_success(const struct session *s, const struct reply *reply, uint16_t id, uint16_t cmd)
{
    (void)s;
    if (reply->header.flags != VFIO_USER_F_TYPE_REPLY) {
        print_error("# command %u was answered with flags %#x, error %u\n", cmd, reply->header.flags,
                    reply->header.error_no);
    }
    assert_int_equal(reply->header.flags, VFIO_USER_F_TYPE_REPLY);
    assert_int_equal(reply->header.msg_id, id);
    assert_int_equal(reply->header.cmd, cmd);
}

void assert_error(const struct session *s, const struct reply *reply, uint16_t id, uint16_t cmd, int error)
{
    (void)s;
    assert_int_equal(reply->header.flags, VFIO_USER_F_TYPE_REPLY | VFIO_USER_F_ERROR);
    assert_int_equal(reply->header.error_no, error);
    assert_int_equal(reply->header.msg_id, id);
    assert_int_equal(reply->header.cmd, cmd);
    assert_int_equal(reply->nr_fds, 0);
    /* The reference echoes the payload with some errors; the protocol says an error reply has none. */
    if (!on_reference()) {
        assert_int_equal(reply->size, 0);
    }
}

struct reply *request_fds(struct session *s, uint16_t cmd, const void *payload, size_t size, const int *fds,
                          size_t nr_fds)
{
    uint16_t id = send_request_fds(s, cmd, payload, size, fds, nr_fds);
    struct reply *reply;

    assert_int_equal(run(s), 1);
    reply = receive(s);
    assert_success(s, reply, id, cmd);
    return reply;
}

struct reply *request(struct session *s, uint16_t cmd, const void *payload, size_t size)
{
    return request_fds(s, cmd, payload, size, NULL, 0);
}

void request_fds_fails(struct session *s, uint16_t cmd, const void *payload, size_t size, const int *fds,
                       size_t nr_fds, int error)
{
    uint16_t id = send_request_fds(s, cmd, payload, size, fds, nr_fds);

    assert_in_range(run(s), 0, 1);
    assert_error(s, receive(s), id, cmd, error);
}

void request_fails(struct session *s, uint16_t cmd, const void *payload, size_t size, int error)
{
    request_fds_fails(s, cmd, payload, size, NULL, 0, error);
}

void assert_serving(struct session *s)
{
    struct vfio_device_info info = {.argsz = 16};
    struct reply *reply = request(s, VFIO_USER_DEVICE_GET_INFO, &info, 16);

    assert_int_equal(reply->size, 16);
    assert_true(nothing_to_receive(s->client));
}
